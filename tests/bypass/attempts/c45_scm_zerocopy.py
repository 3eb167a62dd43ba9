#!/usr/bin/python3
# id: c45_scm_zerocopy
# title: a connected socket received over SCM_RIGHTS, data with MSG_ZEROCOPY
# needs: user
# expect: block
# why: as c01 by another way of sending
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = foreign('connected'); s.setsockopt(1, 60, 1); s.send(TOK.encode() + b'\n', 0x4000000); time.sleep(.3)
attempt(f)
