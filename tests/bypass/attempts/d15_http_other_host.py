#!/usr/bin/python3
# id: d15_http_other_host
# title: plaintext HTTP with the forbidden name to the shared address
# needs: user
# expect: block
# why: Host takes the place of the server name
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(http_get(f'{TOK}.{FNAME}'))
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
