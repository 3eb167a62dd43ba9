#!/usr/bin/python3
# id: b18_raw_mismatch
# title: raw socket: sendto the allowed address, the header says the forbidden one
# needs: root
# expect: block
# why: the address of the call is not the one on the wire
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 255).sendto(ip4(myip(), FORB, 17, udp4(myip(), FORB, 4444, P_UDP, TOK.encode())), (ALLOW, 0))
attempt(f)
