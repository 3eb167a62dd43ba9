#!/usr/bin/python3
# id: d54_same_socket_other_port
# title: as d53, to another port on which no name is spoken
# needs: user
# expect: block
# why: as d53
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, 443), 3); tls(ALLOW, ANAME, ANAME, path='x', s=s)
    ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16); s.settimeout(3); s.connect((ALLOW, P_RAW)); talk(s)
attempt(f, dst=(ALLOW,), chan=('raw',))
