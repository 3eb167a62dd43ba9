#!/usr/bin/python3
# id: d27_sni_long_labels
# title: a server name of 250 bytes, allowed only in its middle
# needs: user
# expect: block
# why: names are matched from the end, to their full length
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, f'{TOK}.{ANAME}.' + 'a' * 60 + '.' + 'b' * 60 + '.' + FNAME, FNAME)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
