#!/usr/bin/python3
# id: d07_tls_records_1
# title: the hello in TLS records of one byte, all in one segment
# needs: user
# expect: block
# why: a record header between any two bytes
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(ALLOW, f'{TOK}.{FNAME}', FNAME, mut=lambda b: rerecord(b, 1))
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
