#!/usr/bin/python3
# id: a12_udp_sendto
# title: UDP sendto over IPv4, no connect
# needs: user
# expect: block
# why: the sendmsg4 hook
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    socket.socket(type=socket.SOCK_DGRAM).sendto(TOK.encode(), (FORB, P_UDP))
attempt(f)
