#!/usr/bin/python3
# id: c02e_scm_connected_udp
# title: a connected UDP socket received over SCM_RIGHTS
# needs: user
# expect: block
# why: send runs no hook but egress; the owner is another process
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    foreign('connectedudp', FORB, P_UDP).send(TOK.encode()); time.sleep(.2)
attempt(f)
