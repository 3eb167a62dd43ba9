#!/usr/bin/python3
# id: d15v_http_plain_8080
# title: plaintext HTTP with the forbidden name on port 8080
# needs: user
# expect: block
# why: a port that the rule opens for plaintext, or for TLS alone
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(http_get(f'{TOK}.{FNAME}'), port=P_HTTP)
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
