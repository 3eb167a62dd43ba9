#!/usr/bin/python3
# id: a16_udp_v4mapped
# title: UDP sendto on an AF_INET6 socket to ::ffff:a.b.c.d
# needs: user
# expect: block
# why: sendmsg4 runs on an AF_INET6 socket
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(TOK.encode(), ('::ffff:' + FORB, P_UDP))
attempt(f)
