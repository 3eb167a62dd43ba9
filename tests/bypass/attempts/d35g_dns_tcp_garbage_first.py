#!/usr/bin/python3
# id: d35g_dns_tcp_garbage_first
# title: a message that is no DNS, then a forbidden query, on one connection
# needs: user
# expect: block
# why: who loses the thread at the first message does not see the second
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
framed = lambda q: len(q).to_bytes(2, 'big') + q
def f():
    s = socket.create_connection((ALLOW, 53), 3); s.sendall(framed(b'GET')); time.sleep(.1); s.sendall(framed(dnsq(f'{TOK}.{FNAME}'))); s.settimeout(2); s.recv(600)
attempt(f, dst=(ALLOW,), chan=('dns',))
