#!/usr/bin/python3
# id: d15w_http_method_long
# title: a method of 300 letters, then the forbidden name
# needs: user
# expect: block
# why: a parser that gives up on the method must deny
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(b'X' * 300 + f' / HTTP/1.1\r\nHost: {TOK}.{FNAME}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
