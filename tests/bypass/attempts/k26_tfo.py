#!/usr/bin/python3
# id: k26_tfo
# title: control: an allowed hello by TCP Fast Open, twice
# needs: user
# expect: control
# why: data in the SYN
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    n = f'{TOK}.{ANAME}'; resolve(n)
    for k in range(2):
        ch, ob, i, o = client_hello(n if k else ANAME); s = socket.socket(); s.settimeout(5); s.setsockopt(6, 30, 1); s.connect((ALLOW, 443)); s.sendall(ch); finish_tls(s, ob, i, o, http_get(ANAME, 'x')); s.close()
attempt(f, dst=(ALLOW,), chan=('sni',))
