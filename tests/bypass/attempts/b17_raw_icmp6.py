#!/usr/bin/python3
# id: b17_raw_icmp6
# title: raw ICMPv6 echo
# needs: root
# expect: block
# why: as b01 over IPv6
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58).sendto(b'\x80\0\0\0\0\1\0\1' + TOK.encode(), (FORB6, 0))
attempt(f, chan=('pkt',))
