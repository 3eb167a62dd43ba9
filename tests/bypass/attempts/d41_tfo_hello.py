#!/usr/bin/python3
# id: d41_tfo_hello
# title: TCP Fast Open: the forbidden hello in the SYN
# needs: user
# expect: block
# why: the first bytes come before the connection
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    for k in range(2):
        ch, ob, i, o = client_hello(f'{TOK if k else "first"}.{FNAME}'); s = socket.socket(); s.settimeout(5); s.setsockopt(6, 30, 1); s.connect((ALLOW, 443)); s.sendall(ch)
        try: finish_tls(s, ob, i, o, http_get(FNAME))
        except OSError as e: print(e)
        s.close()
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
