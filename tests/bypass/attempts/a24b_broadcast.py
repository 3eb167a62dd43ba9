#!/usr/bin/python3
# id: a24b_broadcast
# title: UDP broadcast on the link
# needs: user
# expect: block
# why: whoever is on the link reads it
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(type=socket.SOCK_DGRAM); s.setsockopt(1, 6, 1); s.sendto(TOK.encode(), ('10.99.0.255', P_UDP))
attempt(f, dst=('10.99.0.255',), chan=('udp', 'pkt'))
