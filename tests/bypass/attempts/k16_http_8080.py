#!/usr/bin/python3
# id: k16_http_8080
# title: control: plaintext HTTP with the allowed name on port 8080
# needs: user
# expect: control
# why: must pass where the rule says plaintext
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(http_get(ANAME), port=P_HTTP)
attempt(f, dst=(ALLOW, ALLOW6), chan=('http',))
