#!/usr/bin/python3
# id: d15zh_http_body_as_request
# title: a request with the forbidden Host in the body of an allowed one, to a server that reads no lengths
# needs: user
# expect: out
# why: only a server that breaks RFC 9112 takes it for a request
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    inner = http_get(FNAME)
    http(f'GET / HTTP/1.1\r\nHost: {ANAME}\r\nContent-Length: {len(inner)}\r\n\r\n'.encode() + inner)
attempt(f, dst=(ALLOW,), chan=('http',))
