#!/usr/bin/python3
# id: d30e_dns_other_port
# title: a query to the trusted resolver's address on another port
# needs: user
# expect: block
# why: port 53 is the resolver, 5353 and 8053 are somebody else
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    for p in (5353, 8053): 
        try: socket.socket(type=socket.SOCK_DGRAM).sendto(dnsq(f'{TOK}.{FNAME}'), (ALLOW, p))
        except OSError: pass
    time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
