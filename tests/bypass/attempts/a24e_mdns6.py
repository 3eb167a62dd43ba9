#!/usr/bin/python3
# id: a24e_mdns6
# title: multicast DNS over IPv6
# needs: user
# expect: block
# why: every host on the link reads a query
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); i = socket.if_nametoindex('v0'); s.sendto(dnsq(f'{TOK}.local', 12), ('ff02::fb', 5353, 0, i))
attempt(f, dst=('ff02::fb',), chan=('pkt',))
