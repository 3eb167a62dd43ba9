#!/usr/bin/python3
# id: d36e_dns_response_as_query
# title: a message with the answer bit set, sent to the resolver
# needs: user
# expect: block
# why: the bit must not turn the check off
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    q = bytearray(dnsq(f'{TOK}.{FNAME}')); q[2] |= 0x80; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(bytes(q), (ALLOW, 53)); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
