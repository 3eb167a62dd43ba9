#!/usr/bin/python3
# id: d35f_dns_tcp_tfo
# title: as d35 with TCP Fast Open connect
# needs: user
# expect: block
# why: data may come with the SYN
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(); s.settimeout(3); s.setsockopt(6, 30, 1); s.connect((ALLOW, 53)); q = dnsq(f'{TOK}.{FNAME}'); s.sendall(len(q).to_bytes(2, 'big') + q); s.recv(600)
attempt(f, dst=(ALLOW,), chan=('dns',))
