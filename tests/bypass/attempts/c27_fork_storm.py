#!/usr/bin/python3
# id: c27_fork_storm
# title: 2,000 generations of processes, each of which ends at once; the last one connects
# needs: user
# expect: block
# why: an entry must pass from parent to child faster than the parent ends
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    for k in range(2000):
        if os.fork(): os._exit(0) if k else None; break
    else:
        try: s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
        except OSError: pass
        os._exit(0)
    time.sleep(4)
attempt(f, wait=3)
