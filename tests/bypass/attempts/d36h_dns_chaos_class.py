#!/usr/bin/python3
# id: d36h_dns_chaos_class
# title: a query of class CH for a forbidden name
# needs: user
# expect: block
# why: the class does not matter
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    q = dnsq(f'{TOK}.{FNAME}', 16)[:-2] + b'\0\3'; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(q, (ALLOW, 53)); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
