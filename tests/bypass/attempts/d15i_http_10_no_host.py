#!/usr/bin/python3
# id: d15i_http_10_no_host
# title: HTTP/1.0 without Host
# needs: user
# expect: block
# why: no name is no match
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET /{TOK} HTTP/1.0\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
