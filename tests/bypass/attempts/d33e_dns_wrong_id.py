#!/usr/bin/python3
# id: d33e_dns_wrong_id
# title: the resolver's address answers with another id
# needs: user
# expect: block
# why: an answer counts only for a pending query
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    n = f'wrongid-{TOK}.{ANAME}'; ask(dnsq(n), tries=1); time.sleep(.2); tls(FORB, n, n)
attempt(f)
