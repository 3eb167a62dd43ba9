#!/usr/bin/python3
# id: d24_udp_not_quic
# title: UDP to the allowed address and port that is no QUIC
# needs: user
# expect: block
# why: carries no name; only the address speaks for it
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    socket.socket(type=socket.SOCK_DGRAM).sendto(TOK.encode(), (ALLOW, P_QUIC))
attempt(f, dst=(ALLOW,), chan=('pkt',))
