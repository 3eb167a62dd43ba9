#!/usr/bin/python3
# id: d40_repair_hello
# title: TCP_REPAIR takes a connection over into a new socket before the first byte; then the forbidden hello
# needs: root
# expect: block
# why: the socket that sends never sent a SYN
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    a = socket.create_connection((ALLOW, 443), 3); me = a.getsockname(); a.setsockopt(6, 19, 1); at = {}
    for queue in (1, 2): a.setsockopt(6, 20, queue); at[queue] = a.getsockopt(6, 21)
    window = a.getsockopt(6, 29, 20); a.close()
    s = socket.socket(); s.setsockopt(6, 19, 1); s.setsockopt(1, 2, 1); s.bind(me)
    for queue in (1, 2): s.setsockopt(6, 20, queue); s.setsockopt(6, 21, (at[queue] & 0xffffffff).to_bytes(4, 'little'))
    s.setsockopt(6, 20, 0); s.connect((ALLOW, 443)); s.setsockopt(6, 29, window); s.setsockopt(6, 19, 0); s.settimeout(5); tls(ALLOW, f'{TOK}.{FNAME}', FNAME, s=s)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
