#!/usr/bin/python3
# id: d15u_http6_other_host
# title: as d15 over IPv6
# needs: user
# expect: block
# why: as d15
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(http_get(f'{TOK}.{FNAME}'), dst=ALLOW6)
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
