#!/usr/bin/python3
# id: b33_vsock
# title: an AF_VSOCK connection
# needs: user
# expect: detect
# why: passes no hook: a finding
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_VSOCK); l = socket.socket(socket.AF_VSOCK)
    try: l.bind((1, 9123)); l.listen(1); s.settimeout(3); s.connect((1, 9123)); c = l.accept()[0]
    except OSError as e: cannot(f'no loopback transport: {e}')
    time.sleep(3); s.sendall(TOK.encode()); ok = c.recv(100) == TOK.encode(); print('REACHED' if ok else 'stopped'); os._exit(0 if ok else 1)
attempt(f)
