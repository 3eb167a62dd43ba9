#!/usr/bin/python3
# id: d18_domain_fronting
# title: the allowed name in the handshake, the forbidden one in the encrypted request
# needs: user
# expect: out
# why: nothing but the server can see it: the limits name it
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, ANAME, FNAME)
attempt(f, dst=(ALLOW,), chan=('tls',))
