#!/usr/bin/python3
# id: k25_tls_sendfile
# title: control: an allowed hello by sendfile
# needs: user
# expect: control
# why: pages instead of copies
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    n = f'{TOK}.{ANAME}'; resolve(n); ch = client_hello(n)[0]; m = os.memfd_create('x'); os.write(m, ch); s = socket.create_connection((ALLOW, 443), 3); os.sendfile(s.fileno(), m, 0, len(ch)); s.settimeout(2); s.recv(100)
attempt(f, dst=(ALLOW,), chan=('sni',))
