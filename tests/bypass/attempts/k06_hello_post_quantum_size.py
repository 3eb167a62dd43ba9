#!/usr/bin/python3
# id: k06_hello_post_quantum_size
# title: control: an allowed hello of 1,900 bytes, the name in the second segment
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    n = f'{TOK}.{ANAME}'; resolve(n); tls(ALLOW, n, n, mut=lambda b: hello_extensions(b, lambda x: extension(0xfa01, bytes(1500)) + x))
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
