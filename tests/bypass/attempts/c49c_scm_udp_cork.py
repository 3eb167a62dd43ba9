#!/usr/bin/python3
# id: c49c_scm_udp_cork
# title: a connected UDP socket received over SCM_RIGHTS: what is queued with MSG_MORE leaves with the other's next datagram
# needs: user
# expect: block
# why: whoever completes a datagram is not whoever put bytes into it
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = foreign('ticking', FORB, P_UDP, socket.SOCK_DGRAM); s.send(TOK.encode(), socket.MSG_MORE); time.sleep(2)
attempt(f)
