#!/usr/bin/python3
# id: d15s_http_upgrade
# title: an allowed request that asks for h2c or a WebSocket, then bytes that nobody can follow
# needs: user
# expect: detect
# why: after an upgrade there are no requests
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, 80), 3); talk(s, f'GET / HTTP/1.1\r\nHost: {ANAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'); s.sendall(b'\x82\x13' + TOK.encode()); time.sleep(.3)
attempt(f, dst=(ALLOW, ALLOW6), chan=('http', 'bytes'))
