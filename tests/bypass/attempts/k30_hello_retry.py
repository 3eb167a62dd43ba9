#!/usr/bin/python3
# id: k30_hello_retry
# title: the allowed name in both hellos of a handshake that begins twice
# needs: user
# expect: control
# why: the second hello is judged as the first one
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    resolve(f'{TOK}.{ANAME}'); hello_retry([CHANGE], name=f'{TOK}.{ANAME}')
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
