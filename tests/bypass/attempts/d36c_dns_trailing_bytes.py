#!/usr/bin/python3
# id: d36c_dns_trailing_bytes
# title: bytes after the only question
# needs: user
# expect: block
# why: what no count announces is no part of a query
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(dnsq(ANAME) + TOK.encode(), (ALLOW, 53)); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
