#!/usr/bin/python3
# id: k15_http_upload
# title: control: an upload of 300 KB, then another allowed request
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, 80), 3); s.settimeout(5); s.sendall(f'POST / HTTP/1.1\r\nHost: {ANAME}\r\nContent-Length: 300000\r\n\r\n'.encode() + b'a' * 300000); time.sleep(.3); talk(s, b'\r\n\r\n'[:0] + http_get(ANAME))
attempt(f, dst=(ALLOW, ALLOW6), chan=('http',))
