#!/usr/bin/python3
# id: d15c_http_absolute_form
# title: the request target is an absolute URL of another host
# needs: user
# expect: block
# why: RFC 9112 3.2.2: the target wins over Host
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET http://{TOK}.{FNAME}/ HTTP/1.1\r\nHost: {ANAME}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
