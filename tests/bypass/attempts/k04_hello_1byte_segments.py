#!/usr/bin/python3
# id: k04_hello_1byte_segments
# title: control: an allowed hello in segments of one byte
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, ANAME, ANAME, split=lambda b: [b[k:k+1] for k in range(len(b))])
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
