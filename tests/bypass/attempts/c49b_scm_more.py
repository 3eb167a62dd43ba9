#!/usr/bin/python3
# id: c49b_scm_more
# title: connected socket received over SCM_RIGHTS, sent to with MSG_MORE and never pushed
# needs: user
# expect: block
# why: as c49, with a flag of the call in the place of an option
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = foreign('connected'); s.send(TOK.encode() + b'\n', socket.MSG_MORE); time.sleep(2)
attempt(f)
