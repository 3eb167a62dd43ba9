#!/usr/bin/python3
# id: d36d_dns_query_with_answer
# title: a query that carries an answer record
# needs: user
# expect: block
# why: as d36c, announced by a count
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    q = bytearray(dnsq(ANAME)); q[7] = 1; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(bytes(q) + b'\xc0\x0c\0\x10\0\1\0\0\0\0' + (len(TOK) + 1).to_bytes(2, 'big') + bytes([len(TOK)]) + TOK.encode(), (ALLOW, 53)); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
