#!/usr/bin/python3
# id: d30b_dns_forbidden_resolver
# title: a query to a resolver that is not trusted
# needs: user
# expect: block
# why: port 53 is open only at the trusted one
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    ask(dnsq(f'{TOK}.{ANAME}'), server=FORB, tries=1)
attempt(f)
