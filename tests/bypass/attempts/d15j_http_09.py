#!/usr/bin/python3
# id: d15j_http_09
# title: HTTP/0.9: a request without a version
# needs: user
# expect: block
# why: as d15i, without any field
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET /{TOK}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
