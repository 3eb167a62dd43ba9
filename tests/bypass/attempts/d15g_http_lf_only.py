#!/usr/bin/python3
# id: d15g_http_lf_only
# title: lines that end in LF alone
# needs: user
# expect: block
# why: many servers take them
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET / HTTP/1.1\nHost: {TOK}.{FNAME}\n\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
