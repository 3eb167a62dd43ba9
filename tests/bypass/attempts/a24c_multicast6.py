#!/usr/bin/python3
# id: a24c_multicast6
# title: UDP to all nodes on the link, ff02::1
# needs: user
# expect: block
# why: as a24 over IPv6
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.sendto(TOK.encode(), ('ff02::1', P_UDP, 0, socket.if_nametoindex('v0')))
attempt(f, dst=('ff02::1',), chan=('udp', 'pkt'))
