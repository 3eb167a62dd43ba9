#!/usr/bin/python3
# id: k20_dns_udp
# title: control: an allowed query over UDP, with its answer
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    if not ask(dnsq(f'{TOK}.{ANAME}')): raise OSError('no answer')
attempt(f, dst=(ALLOW,), chan=('dns',))
