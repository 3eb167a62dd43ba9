#!/usr/bin/python3
# id: d10_hello_20000
# title: the server name after 20,000 bytes of other extensions
# needs: user
# expect: block
# why: beyond the limit of 16 KiB: to give up is to deny
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, f'{TOK}.{FNAME}', FNAME, mut=lambda b: hello_extensions(b, lambda x: b''.join(extension(0xfa00 + k, bytes(4000)) for k in range(5)) + x))
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
