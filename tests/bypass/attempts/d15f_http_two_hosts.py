#!/usr/bin/python3
# id: d15f_http_two_hosts
# title: two Host fields, the allowed one first
# needs: user
# expect: block
# why: servers differ in which one they take
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET / HTTP/1.1\r\nHost: {ANAME}\r\nHost: {TOK}.{FNAME}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
