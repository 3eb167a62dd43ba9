#!/usr/bin/python3
# id: d34d_dns_dname
# title: an answer with a DNAME record that leads an allowed name elsewhere
# needs: user
# expect: block
# why: only CNAME records make a chain, and what they end in has to be the question's
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    ask(dnsq(f'dname-{TOK}.{FNAME}'), tries=1); time.sleep(.2); tls(FORB, ANAME, ANAME)
attempt(f)
