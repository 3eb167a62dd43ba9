#!/usr/bin/python3
# id: d32_dot
# title: DNS over TLS to an outside resolver and to the allowed address
# needs: user
# expect: block
# why: names would be hidden; the port is in no rule
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    resolve('dns.' + ANAME)
    for dst in (FORB, ALLOW):
        try:
            q = dnsq(f'{TOK}.{FNAME}'); ch, ob, i, o = client_hello('dns.' + ANAME); s = socket.create_connection((dst, P_DOT), 3); s.sendall(ch); finish_tls(s, ob, i, o, len(q).to_bytes(2, 'big') + q)
        except OSError as e: print(dst, e)
attempt(f, dst=(ALLOW, FORB), chan=('dot', 'tls'))
