#!/usr/bin/python3
# id: c49d_scm_raw_cork
# title: as c49c, with a raw socket
# needs: user
# expect: block
# why: as c49c
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = foreign('tickingraw', FORB, 0, socket.SOCK_RAW); s.send(TOK.encode(), socket.MSG_MORE); time.sleep(2)
attempt(f, chan=('pkt',))
