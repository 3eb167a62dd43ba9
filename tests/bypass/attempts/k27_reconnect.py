#!/usr/bin/python3
# id: k27_reconnect
# title: control: an allowed request, AF_UNSPEC, another allowed request on the same socket
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, 443), 3); tls(ALLOW, ANAME, ANAME, path='x', s=s)
    ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16); s.settimeout(5); s.connect((ALLOW, 443)); tls(ALLOW, ANAME, ANAME, s=s)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
