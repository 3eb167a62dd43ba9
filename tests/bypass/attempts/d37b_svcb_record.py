#!/usr/bin/python3
# id: d37b_svcb_record
# title: a query for the SVCB record of an allowed name
# needs: user
# expect: block
# why: as d37
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(dnsq(f'_dns.{TOK}.{ANAME}', 64), (ALLOW, 53)); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
