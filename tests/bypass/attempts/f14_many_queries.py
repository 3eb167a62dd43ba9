#!/usr/bin/python3
# id: f14_many_queries
# title: 70,000 queries that are never answered, then a forged answer
# needs: user
# stage: own
# expect: block
# why: a full table of pending queries must not let an answer pass that nobody asked for
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(type=socket.SOCK_DGRAM); s.setblocking(False)
    for k in range(70000):
        try: s.sendto(dnsq(f'a{k}.{ANAME}'), (ALLOW, 53))
        except OSError: pass
    ask(dnsq(f'otherquestion-{TOK}.{ANAME}'), tries=1); tls(FORB, ANAME, ANAME)
attempt(f)
