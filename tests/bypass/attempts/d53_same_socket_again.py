#!/usr/bin/python3
# id: d53_same_socket_again
# title: after an allowed hello the socket is disconnected with AF_UNSPEC, connected again, and says the forbidden name
# needs: user
# expect: block
# why: what was proved must be forgotten with the connection
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, 443), 3); tls(ALLOW, ANAME, ANAME, path='x', s=s)
    ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16); s.settimeout(5); s.connect((ALLOW, 443)); tls(ALLOW, f'{TOK}.{FNAME}', FNAME, s=s)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
