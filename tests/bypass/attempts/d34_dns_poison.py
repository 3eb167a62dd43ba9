#!/usr/bin/python3
# id: d34_dns_poison
# title: an answer of the resolver for an allowed name, with an unrelated record for another one
# needs: user
# expect: block
# why: only what stands on the chain of the question is learned
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    ask(dnsq(f'poison-{TOK}.{ANAME}'), tries=1); time.sleep(.2); tls(FORB, ANAME, ANAME)
attempt(f)
