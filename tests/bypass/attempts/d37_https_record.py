#!/usr/bin/python3
# id: d37_https_record
# title: a query for the HTTPS record of an allowed name
# needs: user
# expect: block
# why: refused so that ECH stays off
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(dnsq(f'{TOK}.{ANAME}', 65), (ALLOW, 53)); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
