#!/usr/bin/python3
# id: d15y_http_userinfo
# title: the request target has the allowed name as user information
# needs: user
# expect: block
# why: RFC 3986 3.2.1: the host begins behind the last @
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET http://{ANAME}@{TOK}.{FNAME}/ HTTP/1.1\r\nHost: {ANAME}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
