#!/usr/bin/python3
# id: d34e_dns_any
# title: a query of type ANY, whose answer has addresses of another name
# needs: user
# expect: block
# why: an answer teaches what was asked for
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    ask(dnsq(f'poison-{TOK}.{ANAME}', 255), tries=1); time.sleep(.2); tls(FORB, ANAME, ANAME)
attempt(f)
