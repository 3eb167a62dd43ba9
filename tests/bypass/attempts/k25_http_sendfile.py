#!/usr/bin/python3
# id: k25_http_sendfile
# title: control: an upload whose body is sent by sendfile
# needs: user
# expect: control
# why: pages of a file instead of copies, in what names nobody
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    body = TOK.encode() * 4000; m = os.memfd_create('x'); os.write(m, body); s = socket.create_connection((ALLOW, 80), 3)
    for _ in range(2):
        s.sendall(f'POST / HTTP/1.1\r\nHost: {ANAME}\r\nContent-Length: {len(body)}\r\n\r\n'.encode()); at = 0
        while at < len(body): at += os.sendfile(s.fileno(), m, at, len(body) - at)
    time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('bytes',))
