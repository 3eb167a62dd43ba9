#!/usr/bin/python3
# id: a02_tcp_nonblocking
# title: non-blocking connect, then poll and send
# needs: user
# expect: block
# why: the verdict must be given when connect is called, not when it is waited for
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import select
def f():
    s = socket.socket(); s.setblocking(False); print(s.connect_ex((FORB, P_TCP))); select.select([], [s], [], 2); s.send(TOK.encode() + b'\n'); time.sleep(.3)
attempt(f)
