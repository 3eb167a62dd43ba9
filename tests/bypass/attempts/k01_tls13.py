#!/usr/bin/python3
# id: k01_tls13
# title: control: a TLS 1.3 request with the allowed name
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, ANAME, ANAME)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
