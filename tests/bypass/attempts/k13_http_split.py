#!/usr/bin/python3
# id: k13_http_split
# title: control: an allowed request in five segments
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http([b'GE', f'T /{TOK} HTTP/1.1\r\nhO'.encode(), b'sT:\tallow', b'ed.test\r\n', b'\r\n'], gap=.03)
attempt(f, dst=(ALLOW, ALLOW6), chan=('http',))
