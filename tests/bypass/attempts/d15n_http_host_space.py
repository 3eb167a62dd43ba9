#!/usr/bin/python3
# id: d15n_http_host_space
# title: a space between Host and the colon, and an allowed Host after it
# needs: user
# expect: block
# why: some servers take the first, some refuse both
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET / HTTP/1.1\r\nHost : {TOK}.{FNAME}\r\nHost: {ANAME}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
