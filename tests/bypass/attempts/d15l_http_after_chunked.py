#!/usr/bin/python3
# id: d15l_http_after_chunked
# title: a chunked request for the allowed host, then one for another host
# needs: user
# expect: block
# why: the end of the first one must be found
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http([f'POST / HTTP/1.1\r\nHost: {ANAME}\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n'.encode(), http_get(f'{TOK}.{FNAME}')], gap=.2)
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
