#!/usr/bin/python3
# id: c54_scm_repair
# title: connected socket received over SCM_RIGHTS, its send queue filled under TCP_REPAIR
# needs: root
# expect: block
# why: nothing is sent by the call; the kernel sends again what it believes to be lost
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = foreign('connected'); s.setsockopt(6, 19, 1); s.setsockopt(6, 20, 2); s.send(TOK.encode() + b'\n'); s.setsockopt(6, 20, 0); s.setsockopt(6, 19, 0); time.sleep(2)
attempt(f)
