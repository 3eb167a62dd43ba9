#!/usr/bin/python3
# id: d36f_dns_not_dns
# title: bytes that are no DNS on UDP port 53 of the resolver
# needs: user
# expect: block
# why: as d35e
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    socket.socket(type=socket.SOCK_DGRAM).sendto(TOK.encode() * 2, (ALLOW, 53)); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns', 'pkt'))
