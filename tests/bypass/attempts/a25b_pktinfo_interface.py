#!/usr/bin/python3
# id: a25b_pktinfo_interface
# title: UDP with source and interface in ancillary data (IP_PKTINFO)
# needs: user
# expect: block
# why: the route is the datagram's own
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import struct
def f():
    info = struct.pack('i4s4s', socket.if_nametoindex('v1'), socket.inet_aton('10.98.0.1'), bytes(4))
    socket.socket(type=socket.SOCK_DGRAM).sendmsg([TOK.encode()], [(0, 8, info)], 0, (FORB2, P_UDP))
attempt(f)
