#!/usr/bin/python3
# id: c02_scm_fresh_tcp
# title: a socket that an ungoverned process made, received over SCM_RIGHTS, then connected
# needs: user
# expect: block
# why: the owner in the socket is another process: judge who connects
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = foreign('fresh'); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
attempt(f)
