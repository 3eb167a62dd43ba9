#!/usr/bin/python3
# id: d15h_http_folded
# title: a Host field that is folded over two lines
# needs: user
# expect: block
# why: obsolete, and still read by some
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET / HTTP/1.1\r\nHost:\r\n {TOK}.{FNAME}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
