#!/usr/bin/python3
# id: b40b_mld_sources
# title: as b40 over IPv6 (MLDv2)
# needs: user
# expect: block
# why: as b40
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import struct
def f():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); d = (TOK.encode() + bytes(32))[:32]
    place = lambda a: struct.pack('HHI16sI', 10, 0, 0, a, 0) + bytes(100)
    for k in (0, 16): s.setsockopt(41, 46, struct.pack('II', socket.if_nametoindex('v0'), 0) + place(socket.inet_pton(socket.AF_INET6, 'ff0e::66')) + place(d[k:k + 16]))
    time.sleep(1.5)
attempt(f, dst=('ff02::16',), chan=('pkt',))
