#!/usr/bin/python3
# id: d35j_dns_tcp_long_first
# title: a message longer than any that is read, then a forbidden query
# needs: user
# expect: block
# why: what is passed over may hide where the next message begins
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
framed = lambda q: len(q).to_bytes(2, 'big') + q
def f():
    s = socket.create_connection((ALLOW, 53), 3); s.sendall(framed(dnsq(ANAME) + bytes(20000)) + framed(dnsq(f'{TOK}.{FNAME}'))); s.settimeout(2); s.recv(600); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
