#!/usr/bin/python3
# id: k03_tls_subdomain
# title: control: a name below the allowed wildcard, whose address DNS gave
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    n = f'{TOK}.{ANAME}'; resolve(n); tls(ALLOW, n, n)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
