#!/usr/bin/python3
# id: d15zb_http_host_list
# title: a Host that is a list of names
# needs: user
# expect: block
# why: RFC 9110 7.2: one host
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET / HTTP/1.1\r\nHost: {ANAME}, {TOK}.{FNAME}\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
