#!/usr/bin/python3
# id: d06_hello_1byte_segments
# title: the hello in segments of one byte
# needs: user
# expect: block
# why: reassembly must be exact at any split
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, f'{TOK}.{FNAME}', FNAME, split=lambda b: [b[k:k+1] for k in range(len(b))])
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
