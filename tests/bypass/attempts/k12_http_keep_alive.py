#!/usr/bin/python3
# id: k12_http_keep_alive
# title: control: three requests on one connection, with a body in between
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, 80), 3); talk(s, f'GET / HTTP/1.1\r\nHost: {ANAME}\r\n\r\n'); talk(s, f'POST / HTTP/1.1\r\nHost: {ANAME}\r\nContent-Length: 8\r\n\r\nabc\r\n\r\nd'); talk(s, http_get(ANAME))
attempt(f, dst=(ALLOW, ALLOW6), chan=('http',))
