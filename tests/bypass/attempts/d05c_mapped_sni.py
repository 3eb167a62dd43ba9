#!/usr/bin/python3
# id: d05c_mapped_sni
# title: TLS to the allowed address in its mapped form, with the forbidden name
# needs: user
# expect: block
# why: the socket is one of IPv6, its packets are of IPv4
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f(): tls('::ffff:' + ALLOW, f'{TOK}.{FNAME}', FNAME)
attempt(f, dst=(ALLOW,), chan=('sni', 'tls'))
