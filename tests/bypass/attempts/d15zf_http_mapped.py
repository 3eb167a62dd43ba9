#!/usr/bin/python3
# id: d15zf_http_mapped
# title: HTTP to the allowed address in its mapped form, with another Host
# needs: user
# expect: block
# why: as d05c
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_INET6); s.settimeout(3); s.connect(('::ffff:' + ALLOW, 80)); s.sendall(http_get(f'{TOK}.{FNAME}')); s.recv(1000)
attempt(f, dst=(ALLOW,), chan=('http', 'bytes'))
