#!/usr/bin/python3
# id: c13i_syslog_relay
# title: a datagram to a local log service that forwards to a remote collector
# needs: user
# expect: detect
# why: sendmsg_unix sees the name of the socket
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(TOK.encode(), RUN + '/log.sock'); time.sleep(.3)
attempt(f)
