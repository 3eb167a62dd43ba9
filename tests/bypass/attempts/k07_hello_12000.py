#!/usr/bin/python3
# id: k07_hello_12000
# title: control: an allowed hello of 12,000 bytes
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    n = f'{TOK}.{ANAME}'; resolve(n); tls(ALLOW, n, n, mut=lambda b: hello_extensions(b, lambda x: b''.join(extension(0xfa00 + k, bytes(2900)) for k in range(4)) + x))
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
