#!/usr/bin/python3
# id: d16_many_unknown_extensions
# title: 500 empty extensions before the server name
# needs: user
# expect: block
# why: a bound on the number of extensions must deny, not give up
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, f'{TOK}.{FNAME}', FNAME, mut=lambda b: hello_extensions(b, lambda x: b''.join(extension(0xea00 + k, b'') for k in range(500)) + x))
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
