#!/usr/bin/python3
# id: k14_http_chunked
# title: control: a chunked upload, then another allowed request
# needs: user
# expect: control
# why: must pass where requests can be followed
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, 80), 3); talk(s, f'POST / HTTP/1.1\r\nHost: {ANAME}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n'); talk(s, http_get(ANAME))
attempt(f, dst=(ALLOW, ALLOW6), chan=('http',))
