#!/usr/bin/python3
# id: d15za_http_host_userinfo
# title: a Host with the allowed name before an @
# needs: user
# expect: block
# why: as d15y
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET / HTTP/1.1\r\nHost: {ANAME}:80@{TOK}.{FNAME}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
