#!/usr/bin/python3
# id: f13_many_bindings
# title: 90,000 addresses by DNS for allowed names, then a forbidden connect, then TLS to the allowed one
# needs: user
# stage: own
# expect: block
# why: a full table of bindings denies
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import select
def f():
    s = socket.socket(type=socket.SOCK_DGRAM); s.connect((ALLOW, 53)); s.setblocking(False)
    for k in range(1500):
        try: s.send(dnsq(f'many-{k}.{ANAME}'))
        except OSError: pass
        r, _, _ = select.select([s], [], [], .05)
        if r: s.recv(4096)
    c = socket.socket(); c.settimeout(3); c.connect((FORB, P_TCP)); talk(c)
attempt(f)
