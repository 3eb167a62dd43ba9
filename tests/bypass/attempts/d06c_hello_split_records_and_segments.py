#!/usr/bin/python3
# id: d06c_hello_split_records_and_segments
# title: every byte in a TLS record of its own, two records in a segment
# needs: user
# expect: block
# why: both ways of splitting at once
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, f'{TOK}.{FNAME}', FNAME, mut=lambda b: rerecord(b, 1), split=lambda b: [b[k:k+9] for k in range(0, len(b), 9)])
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
