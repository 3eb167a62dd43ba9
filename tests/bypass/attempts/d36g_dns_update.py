#!/usr/bin/python3
# id: d36g_dns_update
# title: a DNS UPDATE (opcode 5) for a name below the allowed one
# needs: user
# expect: block
# why: only queries are queries
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    q = bytearray(dnsq(f'{TOK}.{ANAME}', 6)); q[2] = 0x28; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(bytes(q), (ALLOW, 53)); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
