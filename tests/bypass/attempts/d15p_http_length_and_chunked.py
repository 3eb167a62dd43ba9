#!/usr/bin/python3
# id: d15p_http_length_and_chunked
# title: Content-Length and Transfer-Encoding disagree: one of two servers sees a second request
# needs: user
# expect: block
# why: what cannot be followed for certain is refused
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    b = b'0\r\n\r\n' + http_get(f'{TOK}.{FNAME}')
    http(f'POST / HTTP/1.1\r\nHost: {ANAME}\r\nContent-Length: {len(b)}\r\nTransfer-Encoding: chunked\r\n\r\n'.encode() + b)
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
