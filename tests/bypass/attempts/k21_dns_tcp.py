#!/usr/bin/python3
# id: k21_dns_tcp
# title: control: an allowed query over TCP, with its answer, in segments of one byte
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    if len(ask_tcp(dnsq(f'{TOK}.{ANAME}'), pieces=lambda m: [m[k:k+1] for k in range(len(m))])) < 30: raise OSError('no answer')
attempt(f, dst=(ALLOW,), chan=('dns',))
