#!/usr/bin/python3
# id: d13b_sni_first_of_many
# title: the server name first, and then 3,000 bytes that come a second later
# needs: user
# expect: block
# why: a verdict that is given early must still stop the rest
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, f'{TOK}.{FNAME}', FNAME, mut=lambda b: hello_extensions(b, lambda x: server_name(f'{TOK}.{FNAME}'.encode()) + without_extension(x, 0) + extension(0xfa01, bytes(3000))), split=lambda b: [b[:1200], b[1200:]], gap=1)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
