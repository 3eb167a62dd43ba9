#!/usr/bin/python3
# id: b11_ip_options
# title: UDP with IP_OPTIONS: loose source route by way of the allowed host
# needs: root
# expect: block
# why: the hook sees the final address, egress the first hop
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(type=socket.SOCK_DGRAM); s.setsockopt(0, 4, b'\x01\x83\x07\x04' + socket.inet_aton(ALLOW)); s.sendto(TOK.encode(), (FORB, P_UDP))
attempt(f)
