#!/usr/bin/python3
# id: d15zc_http_cr_only
# title: header lines that end in a carriage return alone
# needs: user
# expect: block
# why: some servers take it for an end of line
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET / HTTP/1.1\rHost: {TOK}.{FNAME}\rX: \r\nHost: {ANAME}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
