#!/usr/bin/python3
# id: b17b_scm_raw_icmp6
# title: a raw ICMPv6 socket received over SCM_RIGHTS sends what looks like neighbour discovery
# needs: user
# expect: block
# why: the kernel's own packets of that kind have to pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = foreign('raw6')
    for kind in (135, 136, 130): s.sendto(bytes([kind, 0, 0, 0]) + b'\0' * 4 + socket.inet_pton(socket.AF_INET6, FORB6) + TOK.encode(), (FORB6, 0))
    time.sleep(.4)
attempt(f, chan=('pkt',))
