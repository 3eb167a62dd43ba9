#!/usr/bin/python3
# id: d35e_dns_tcp_not_dns
# title: bytes that are no DNS on TCP port 53 of the resolver
# needs: user
# expect: block
# why: the resolver is allowed for DNS alone
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, 53), 3); m = b'GET /' + TOK.encode() + b' HTTP/1.1\r\n\r\n' + bytes(40); s.sendall(len(m).to_bytes(2, 'big') + m); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
