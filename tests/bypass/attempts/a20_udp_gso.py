#!/usr/bin/python3
# id: a20_udp_gso
# title: UDP segmentation offload: one send, many datagrams
# needs: user
# expect: block
# why: egress sees one large packet before it is cut
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(type=socket.SOCK_DGRAM); s.setsockopt(17, 103, 200); s.sendto((TOK + '.' * 181).encode() * 10, (FORB, P_UDP))
attempt(f)
