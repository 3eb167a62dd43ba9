#!/usr/bin/python3
# id: f12_many_processes
# title: 3,000 live processes of the agent, then one more that connects
# needs: user
# stage: own
# expect: block
# why: a full table of processes must not lose one
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import resource, signal
def f():
    kids = []
    try:
        for k in range(3000):
            p = os.fork()
            if p == 0: signal.pause()
            kids.append(p)
    except OSError as e: print(len(kids), e)
    if os.fork() == 0:
        try: s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
        except OSError as e: print(e, flush=True)
        os._exit(0)
    time.sleep(1)
    for p in kids: os.kill(p, 9)
attempt(f)
