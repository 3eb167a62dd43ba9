#!/usr/bin/python3
# id: c49_scm_cork
# title: connected socket received over SCM_RIGHTS, corked: a timer sends what was queued
# needs: user
# expect: block
# why: whoever sends is not whoever runs when the packet leaves
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = foreign('connected'); s.setsockopt(6, 3, 1); s.sendall(TOK.encode() + b'\n'); time.sleep(2)
attempt(f)
