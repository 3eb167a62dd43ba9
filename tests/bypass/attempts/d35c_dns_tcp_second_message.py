#!/usr/bin/python3
# id: d35c_dns_tcp_second_message
# title: an allowed query and a forbidden one in one segment
# needs: user
# expect: block
# why: a segment may hold several messages
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, 53), 3); s.sendall(b''.join(len(q).to_bytes(2, 'big') + q for q in (dnsq(ANAME), dnsq(f'{TOK}.{FNAME}')))); s.settimeout(2); s.recv(600); time.sleep(.2)
attempt(f, dst=(ALLOW,), chan=('dns',))
