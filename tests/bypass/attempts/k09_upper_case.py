#!/usr/bin/python3
# id: k09_upper_case
# title: control: the allowed name in upper case, and with a final dot in DNS
# needs: user
# expect: control
# why: names are compared without case
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, ANAME.upper(), ANAME)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
