#!/usr/bin/python3
# id: k05_hello_records
# title: control: an allowed hello in TLS records of 16 bytes
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    n = f'{TOK}.{ANAME}'; resolve(n); tls(ALLOW, n, n, mut=lambda b: rerecord(b, 16))
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
