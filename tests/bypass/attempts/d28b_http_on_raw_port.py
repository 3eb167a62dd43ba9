#!/usr/bin/python3
# id: d28b_http_on_raw_port
# title: plaintext HTTP with the forbidden name on a port for which the policy does not allow plaintext
# needs: user
# expect: block
# why: only what can be read may pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    http(http_get(f'{TOK}.{FNAME}'), port=P_RAW)
attempt(f, dst=(ALLOW,), chan=('raw',))
