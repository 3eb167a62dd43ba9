#!/usr/bin/python3
# id: k22_dns_edns_0x20
# title: control: an allowed query with EDNS and mixed case
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    q = bytearray(dnsq(f'{TOK}.aLLoWeD.tEsT')); q[11] = 1
    if not ask(bytes(q) + b'\0\0\x29\x10\0\0\0\0\0\0\0'): raise OSError('no answer')
attempt(f, dst=(ALLOW,), chan=('dns',))
