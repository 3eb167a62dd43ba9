#!/usr/bin/python3
# id: d15q_http_late_host
# title: Host after 9,000 bytes of other fields, for the forbidden name
# needs: user
# expect: block
# why: the limit denies, it does not give up
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(b'GET / HTTP/1.1\r\n' + b''.join(b'X-%03d: ' % k + b'a' * 90 + b'\r\n' for k in range(90)) + f'Host: {TOK}.{FNAME}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
