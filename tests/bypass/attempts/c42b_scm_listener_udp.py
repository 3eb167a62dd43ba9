#!/usr/bin/python3
# id: c42b_scm_listener_udp
# title: a bound UDP socket received over SCM_RIGHTS sends to the forbidden address
# needs: user
# expect: block
# why: the socket is another process's, the destination is not
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = foreign('freshudp'); s.sendto(TOK.encode(), (FORB, P_UDP)); s.connect((FORB, P_UDP)); s.send(TOK.encode())
attempt(f)
