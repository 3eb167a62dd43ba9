#!/usr/bin/python3
# id: c42_scm_listener
# title: a listening socket received over SCM_RIGHTS; the outsider dials in and gets the token
# needs: user
# expect: block
# why: an accepted socket inherits its owner from the listener
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import select
def f():
    p = 7000 + os.getpid() % 900; l = foreign('listen', FORB, p); ctl(f'DIAL 10.99.0.1 {p}'); l.settimeout(3); c, _ = l.accept(); c.sendall(TOK.encode() + b'\n'); time.sleep(.5)
attempt(f)
