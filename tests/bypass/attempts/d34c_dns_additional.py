#!/usr/bin/python3
# id: d34c_dns_additional
# title: an answer of the resolver for an allowed name, with records in the authority and additional sections
# needs: user
# expect: block
# why: only answers are learned
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    ask(dnsq(f'additional-{TOK}.{ANAME}'), tries=1); time.sleep(.2); tls(FORB, ANAME, ANAME)
attempt(f)
