#!/usr/bin/python3
# id: c13j_syslog_connected
# title: as c13i with a connected datagram socket
# needs: user
# expect: detect
# why: connect_unix, then plain sends
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect(RUN + '/log.sock'); s.send(TOK.encode()); time.sleep(.3)
attempt(f)
