#!/usr/bin/python3
# id: d15k_http_pipelined
# title: two requests in one segment, the second for another host
# needs: user
# expect: block
# why: every request has a Host of its own
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET / HTTP/1.1\r\nHost: {ANAME}\r\n\r\n'.encode() + http_get(f'{TOK}.{FNAME}'))
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
