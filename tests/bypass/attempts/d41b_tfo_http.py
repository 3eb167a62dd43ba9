#!/usr/bin/python3
# id: d41b_tfo_http
# title: a plaintext request with another Host in the SYN of TCP Fast Open
# needs: user
# expect: block
# why: the first bytes come before the connection is there
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    for _ in range(2):
        s = socket.socket(); s.settimeout(3)
        try: s.sendto(http_get(f'{TOK}.{FNAME}'), 0x20000000, (ALLOW, 80)); s.recv(100)
        except OSError as e: print(e)
        s.close()
attempt(f, dst=(ALLOW,), chan=('http', 'bytes'))
