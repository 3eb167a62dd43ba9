#!/usr/bin/python3
# id: d30f_dns_mapped
# title: a forbidden name asked for at the resolver's address in its mapped form
# needs: user
# expect: block
# why: the socket is one of IPv6, and the hook that of IPv4
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.sendto(dnsq(f'{TOK}.{FNAME}'), ('::ffff:' + ALLOW, 53)); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('dns',))
