#!/usr/bin/python3
# id: d15ze_http_escaped_host
# title: an escaped Host
# needs: user
# expect: block
# why: some servers decode it
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET / HTTP/1.1\r\nHost: {TOK}.{FNAME}%2f.{ANAME}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
