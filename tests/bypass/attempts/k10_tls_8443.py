#!/usr/bin/python3
# id: k10_tls_8443
# title: control: the allowed name on another port of the rule
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, ANAME, ANAME, port=P_TLS)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
