#!/usr/bin/python3
# id: d15m_http2_prior_knowledge
# title: HTTP/2 without TLS, prior knowledge, with the forbidden authority
# needs: user
# expect: block
# why: the name is compressed in a frame
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    a = f'{TOK}.{FNAME}'.encode(); h = b'\x82\x84\x86\x41' + bytes([len(a)]) + a
    http(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + b'\0\0\0\4\0\0\0\0\0' + len(h).to_bytes(3, 'big') + b'\1\5\0\0\0\1' + h)
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
