#!/usr/bin/python3
# id: c58_scm_mid_stream
# title: a connection to the allowed address, on which its maker has spoken already, received over SCM_RIGHTS
# needs: user
# expect: block
# why: the address is allowed, and no name was ever shown
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = foreign('spoken', ALLOW, P_RAW); s.sendall(TOK.encode() + b'\n'); time.sleep(.5)
resolve(); attempt(f, dst=(ALLOW,))
