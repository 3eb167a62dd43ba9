#!/usr/bin/python3
# id: d35h_dns_tcp_cut_between
# title: an allowed query and a forbidden one whose length octets are in two segments
# needs: user
# expect: block
# why: the length of a message is cut as well
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
framed = lambda q: len(q).to_bytes(2, 'big') + q
def f():
    a, b = framed(dnsq(ANAME)), framed(dnsq(f'{TOK}.{FNAME}')); s = socket.create_connection((ALLOW, 53), 3); s.setsockopt(6, 1, 1); s.settimeout(2)
    for c in (a + b[:1], b[1:2], b[2:]): s.sendall(c); time.sleep(.05)
    for _ in range(4): s.recv(600)
attempt(f, dst=(ALLOW,), chan=('dns',))
