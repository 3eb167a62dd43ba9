#!/usr/bin/python3
# id: a16b_udp6_sockaddr_in
# title: UDP sendto on an IPv6 socket with the destination in an IPv4 structure
# needs: user
# expect: block
# why: the address is not the one that the family of the socket has
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    to = b'\2\0' + P_UDP.to_bytes(2, 'big') + socket.inet_aton(FORB) + bytes(8); s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    print(ctypes.CDLL(None).sendto(s.fileno(), TOK.encode(), len(TOK), 0, to, 16))
attempt(f)
