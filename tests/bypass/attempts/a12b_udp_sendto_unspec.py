#!/usr/bin/python3
# id: a12b_udp_sendto_unspec
# title: UDP sendto with a destination whose family is AF_UNSPEC
# needs: user
# expect: block
# why: IPv4 takes it for one of its own
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    to = b'\0\0' + P_UDP.to_bytes(2, 'big') + socket.inet_aton(FORB) + bytes(8); s = socket.socket(type=socket.SOCK_DGRAM)
    print(ctypes.CDLL(None).sendto(s.fileno(), TOK.encode(), len(TOK), 0, to, 16))
attempt(f)
