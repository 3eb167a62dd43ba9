#!/usr/bin/python3
# id: a06_tfo_connect
# title: TCP_FASTOPEN_CONNECT: connect returns at once, the data goes with the SYN
# needs: user
# expect: block
# why: no SYN leaves before the first send
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    for _ in range(2):
        s = socket.socket(); s.settimeout(3); s.setsockopt(6, 30, 1); s.connect((FORB, 8002)); talk(s); s.close()
attempt(f)
