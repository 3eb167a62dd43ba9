#!/usr/bin/python3
# id: d15e_http_connect
# title: CONNECT to another host on port 80
# needs: user
# expect: block
# why: the authority in the target is the name
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'CONNECT {TOK}.{FNAME}:443 HTTP/1.1\r\nHost: {ANAME}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
