#!/usr/bin/python3
# id: d13_sni_last
# title: the server name is the very last extension of a post-quantum sized hello
# needs: user
# expect: block
# why: it lies in the second segment
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, f'{TOK}.{FNAME}', FNAME, mut=lambda b: hello_extensions(b, lambda x: without_extension(x, 0) + extension(0xfa01, bytes(1300)) + server_name(f'{TOK}.{FNAME}'.encode())))
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
