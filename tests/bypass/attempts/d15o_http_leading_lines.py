#!/usr/bin/python3
# id: d15o_http_leading_lines
# title: empty lines before the request
# needs: user
# expect: block
# why: RFC 9112 2.2 lets servers skip them
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'\r\n\r\nGET / HTTP/1.1\r\nHost: {TOK}.{FNAME}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
