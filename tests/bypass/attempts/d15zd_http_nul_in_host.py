#!/usr/bin/python3
# id: d15zd_http_nul_in_host
# title: a NUL in the Host
# needs: user
# expect: block
# why: some servers end a name there
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET / HTTP/1.1\r\nHost: {TOK}.{FNAME}\0.{ANAME}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
