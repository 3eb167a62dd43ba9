#!/usr/bin/python3
# id: b02c_ping6_sendto
# title: unprivileged ICMPv6 ping socket, sendto
# needs: user
# expect: block
# why: as b02 over IPv6
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, 58); s.sendto(b'\x80\0\0\0\0\1\0\1' + TOK.encode(), (FORB6, 0))
attempt(f, chan=('pkt',))
