#!/usr/bin/python3
# id: c57_scm_mptcp
# title: a multipath connection received over SCM_RIGHTS, sent to with MSG_MORE and never pushed
# needs: user
# expect: block
# why: as c49; the bytes are queued in a socket above those that send
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = foreign('connectedmptcp', FORB, P_MPTCP); s.send(TOK.encode() + b'\n', socket.MSG_MORE); time.sleep(2)
attempt(f)
