#!/usr/bin/python3
# id: d15x_websocket_masked
# title: an allowed request that becomes a WebSocket: a masked frame
# needs: user
# expect: out
# why: what a connection to an allowed name carries is its server's
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, 80), 3); talk(s, f'GET / HTTP/1.1\r\nHost: {ANAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'); s.sendall(b'\x82\x93\0\0\0\0' + TOK.encode()); time.sleep(.3)
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
