#!/usr/bin/python3
# id: d33b_dns_forge_port_53
# title: root answers its own query from port 53 of loopback
# needs: root
# expect: block
# why: the port does not make a resolver
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *

def answer(q, ip): return q[:2] + b'\x81\x80\0\1\0\1\0\0\0\0' + q[12:] + b'\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4' + socket.inet_aton(ip)
def f():
    srv = socket.socket(type=socket.SOCK_DGRAM); srv.bind(('127.0.0.1', 53)); c = socket.socket(type=socket.SOCK_DGRAM); q = dnsq(ANAME); c.sendto(q, ('127.0.0.1', 53)); d, a = srv.recvfrom(600); srv.sendto(answer(d, FORB), a); c.recv(600); time.sleep(.2)
    tls(FORB, ANAME, ANAME)
attempt(f)
