#!/usr/bin/python3
# id: d70b_hello_retry_early_data
# title: as d70, with early data before the second hello, which stands in records of one byte
# needs: user
# expect: block
# why: a server that asks for another hello passes early data over, so that the second hello is not the next record
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def early(block): return extension(42, b'') + block
def data(n): return b'\x17\x03\x03' + n.to_bytes(2, 'big') + os.urandom(n)
attempt(lambda: hello_retry([CHANGE, data(4000), data(1)], early, lambda ch: rerecord(ch, 1)), dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
