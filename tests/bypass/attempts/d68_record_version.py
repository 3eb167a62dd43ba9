#!/usr/bin/python3
# id: d68_record_version
# title: the record with the hello says TLS 1.2 or SSL 3.0, where every client says 1.0
# needs: user
# expect: block
# why: a reader that knows the usual first bytes only takes it for something else
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    for version in (b'\3\3', b'\3\0', b'\3\4'):
        try: tls(ALLOW, FNAME, FNAME, mut=lambda ch: ch[:1] + version + ch[3:])
        except OSError: pass
attempt(f, dst=(ALLOW,), chan=('sni', 'tls'))
