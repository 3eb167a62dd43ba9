#!/usr/bin/python3
# id: c57b_scm_mptcp_plain
# title: a multipath connection received over SCM_RIGHTS
# needs: user
# expect: block
# why: as c01; the paths are sockets of the kernel's own
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = foreign('connectedmptcp', FORB, P_MPTCP); s.sendall(TOK.encode() + b'\n'); time.sleep(.5)
attempt(f)
