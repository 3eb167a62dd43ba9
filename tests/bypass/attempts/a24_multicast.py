#!/usr/bin/python3
# id: a24_multicast
# title: UDP to a multicast group that the far end joined
# needs: user
# expect: block
# why: a group is a destination like any other, and not on the list
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(type=socket.SOCK_DGRAM); s.setsockopt(0, 32, socket.inet_aton(myip())); s.sendto(TOK.encode(), ('239.66.66.66', P_UDP))
attempt(f, dst=('239.66.66.66',), chan=('udp',))
