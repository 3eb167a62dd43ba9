#!/usr/bin/python3
# id: b40_igmp_sources
# title: the token as the sources of a multicast group, which the kernel reports to the link (IGMPv3)
# needs: user
# expect: block
# why: the kernel sends the report, from no socket of the workload
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(type=socket.SOCK_DGRAM); d = TOK.encode() + b'x'
    for k in range(0, len(d), 4): s.setsockopt(0, 39, socket.inet_aton('239.66.66.66') + socket.inet_aton(myip()) + d[k:k+4])
    time.sleep(1.5)
attempt(f, dst=('224.0.0.22',), chan=('pkt',))
