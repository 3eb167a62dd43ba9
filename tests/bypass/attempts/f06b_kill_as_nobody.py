#!/usr/bin/python3
# id: f06b_kill_as_nobody
# title: the workload without rights signals, traces and renices the daemon
# needs: user
# stage: own
# expect: block
# why: the daemon runs as another user
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    p = int(E('GOVERND_PID') or 0); L = ctypes.CDLL(None)
    if p:
        for n in (19, 9, 1):
            try: os.kill(p, n)
            except OSError as e: print(e)
        L.ptrace(16, p, 0, 0); time.sleep(.5)
    s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
attempt(f)
