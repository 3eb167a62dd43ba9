#!/usr/bin/python3
# id: d08b_hello_paused
# title: half of the hello, a second of nothing, the other half
# needs: user
# expect: block
# why: no state may lapse in between
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, f'{TOK}.{FNAME}', FNAME, split=lambda b: [b[:len(b)//2], b[len(b)//2:]], gap=1)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
