#!/usr/bin/python3
# id: d05_shared_ip_sni
# title: the forbidden name at the allowed, shared address
# needs: user
# expect: block
# why: the address serves both names: only the handshake tells them apart
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, f'{TOK}.{FNAME}', FNAME)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
