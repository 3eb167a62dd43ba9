#!/usr/bin/python3
# id: d15r_http_then_raw
# title: after an allowed request bytes that are no HTTP at all
# needs: user
# expect: block
# why: what is not a request names nobody
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, 80), 3); talk(s, f'GET / HTTP/1.1\r\nHost: {ANAME}\r\n\r\n'); s.sendall(b'\0\1\2' + TOK.encode() + b'\n'); time.sleep(.3)
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
