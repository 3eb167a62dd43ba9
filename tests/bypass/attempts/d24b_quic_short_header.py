#!/usr/bin/python3
# id: d24b_quic_short_header
# title: UDP that looks like a QUIC packet after the handshake
# needs: user
# expect: block
# why: a short header says nothing about a name
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    socket.socket(type=socket.SOCK_DGRAM).sendto(b'\x40' + os.urandom(8) + TOK.encode(), (ALLOW, P_QUIC))
attempt(f, dst=(ALLOW,), chan=('pkt',))
