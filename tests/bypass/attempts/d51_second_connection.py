#!/usr/bin/python3
# id: d51_second_connection
# title: the allowed name on one connection, the forbidden one on the next
# needs: user
# expect: block
# why: a verdict is for one connection, not for an address
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, ANAME, ANAME, path='x'); tls(ALLOW, f'{TOK}.{FNAME}', FNAME)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
