#!/usr/bin/python3
# id: k17_http6
# title: control: plaintext HTTP with the allowed name over IPv6
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(http_get(ANAME), dst=ALLOW6)
attempt(f, dst=(ALLOW, ALLOW6), chan=('http',))
