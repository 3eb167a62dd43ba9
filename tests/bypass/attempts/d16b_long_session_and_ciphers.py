#!/usr/bin/python3
# id: d16b_long_session_and_ciphers
# title: 200 cipher suites and a session id before the extensions
# needs: user
# expect: block
# why: what stands before the extensions has a length as well
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    def m(b):
        h = b[9:]; i = 34; i += 1 + h[i]; n = int.from_bytes(h[i:i+2], 'big'); c = h[i+2:i+2+n] + b''.join((0x8a00 + k).to_bytes(2, 'big') for k in range(200))
        h = h[:i] + len(c).to_bytes(2, 'big') + c + h[i+2+n:]; hs = b'\1' + len(h).to_bytes(3, 'big') + h; return b[:3] + len(hs).to_bytes(2, 'big') + hs
    tls(ALLOW, f'{TOK}.{FNAME}', FNAME, mut=m)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
