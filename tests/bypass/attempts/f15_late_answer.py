#!/usr/bin/python3
# id: f15_late_answer
# title: the daemon is stopped while the workload connects and the policy would change
# needs: root
# stage: own
# expect: block
# why: the tables stay as they are
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import signal
def f():
    p = E('GOVERND_PID')
    if p: os.kill(int(p), signal.SIGSTOP)
    try:
        for dst in (ALLOW, FORB):
            try: tls(dst, FNAME, FNAME)
            except OSError as e: print(e)
    finally:
        if p: os.kill(int(p), signal.SIGCONT)
attempt(f)
