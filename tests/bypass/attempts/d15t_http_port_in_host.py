#!/usr/bin/python3
# id: d15t_http_port_in_host
# title: Host with userinfo and a port: allowed.test@forbidden and forbidden:80
# needs: user
# expect: block
# why: what stands before @ is not the host
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(f'GET / HTTP/1.1\r\nHost: {ANAME}@{TOK}.{FNAME}:80\r\n\r\n'.encode())
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
