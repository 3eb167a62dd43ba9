#!/usr/bin/python3
# id: k11_http
# title: control: plaintext HTTP with the allowed name
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(http_get(ANAME))
attempt(f, dst=(ALLOW, ALLOW6), chan=('http',))
