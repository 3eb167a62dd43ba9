#!/usr/bin/python3
# id: d30d_dns_label_below_allowed
# title: data in a label below an allowed wildcard
# needs: user
# expect: out
# why: the policy allows every name there, and who owns the zone reads the query
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    ask(dnsq(f'{TOK}.{ANAME}'), tries=1)
attempt(f, dst=(ALLOW,), chan=('dns',))
