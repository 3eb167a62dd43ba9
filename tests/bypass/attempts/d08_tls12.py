#!/usr/bin/python3
# id: d08_tls12
# title: a TLS 1.2 hello with the forbidden name
# needs: user
# expect: block
# why: other versions have other hellos
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import ssl
def f(): tls(ALLOW, f'{TOK}.{FNAME}', FNAME, ctx=lambda c: setattr(c, 'maximum_version', ssl.TLSVersion.TLSv1_2))
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
