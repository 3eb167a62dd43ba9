#!/usr/bin/python3
# id: d15zg_http_connect_lower_case
# title: CONNECT that the server turns down, then a request with a method in lower case and another Host
# needs: user
# expect: block
# why: a server that takes any token for a method goes on with it
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, 80), 3); talk(s, f'CONNECT {ANAME}:1 HTTP/1.1\r\nHost: {ANAME}\r\n\r\n'); talk(s, http_get(FNAME).replace(b'GET', b'get'))
attempt(f, dst=(ALLOW,), chan=('http',))
