#!/usr/bin/python3
# id: a18_udp_connected_sendto_other
# title: UDP socket connected to the allowed address, sendto the forbidden one
# needs: user
# expect: block
# why: a verdict kept for the socket must not serve another destination
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(type=socket.SOCK_DGRAM); s.connect((ALLOW, P_QUIC)); s.sendto(TOK.encode(), (FORB, P_UDP))
resolve(); attempt(f)
