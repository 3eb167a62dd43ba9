#!/usr/bin/python3
# id: k29_dns_tcp_dnspython
# title: control: a client library asks twice over one TCP connection, with EDNS and a cookie
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import dns.edns, dns.message, dns.query
def f():
    with socket.create_connection((ALLOW, 53), 5) as s:
        for name in (ANAME, f'{TOK}.{ANAME}'):
            q = dns.message.make_query(name, 'A', use_edns=0, payload=4096, options=[dns.edns.GenericOption(10, os.urandom(8))])
            if not dns.query.tcp(q, ALLOW, timeout=5, sock=s).answer: raise OSError('no answer')
attempt(f, dst=(ALLOW,), chan=('dns',))
