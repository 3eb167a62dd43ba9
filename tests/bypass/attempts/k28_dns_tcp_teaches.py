#!/usr/bin/python3
# id: k28_dns_tcp_teaches
# title: control: a TLS request to an address that only an answer over TCP gave
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import bp
from bp import *
bp.resolve = lambda: None
def f():
    if len(ask_tcp(dnsq(ANAME))) < 30: raise OSError('no answer')
    tls(ALLOW, ANAME, ANAME)
attempt(f, dst=(ALLOW,), chan=('sni', 'tls'))
