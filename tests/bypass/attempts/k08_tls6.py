#!/usr/bin/python3
# id: k08_tls6
# title: control: TLS with the allowed name over IPv6
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW6, ANAME, ANAME)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
