#!/usr/bin/python3
# id: d10b_hello_16200
# title: the server name after 16,200 bytes of other extensions, close to the limit
# needs: user
# expect: block
# why: the last bytes within the limit count as well
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, f'{TOK}.{FNAME}', FNAME, mut=lambda b: hello_extensions(b, lambda x: b''.join(extension(0xfa00 + k, bytes(4046)) for k in range(4)) + x))
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
