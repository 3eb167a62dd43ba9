#!/usr/bin/python3
# id: k02_tls12
# title: control: a TLS 1.2 request with an allowed name
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import ssl
def f(): tls(ALLOW, ANAME, ANAME, ctx=lambda c: setattr(c, 'maximum_version', ssl.TLSVersion.TLSv1_2))
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
