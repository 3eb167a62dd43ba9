#!/usr/bin/python3
# id: f06_kill
# title: root kills the daemon
# needs: root
# stage: own
# expect: detect
# why: links that are pinned outlive it
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    p = E('GOVERND_PID')
    if p: os.kill(int(p), 9); time.sleep(1)
    s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
attempt(f)
