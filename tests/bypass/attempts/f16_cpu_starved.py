#!/usr/bin/python3
# id: f16_cpu_starved
# title: eight busy threads and a niced daemon, a forbidden connect in between
# needs: user
# stage: own
# expect: block
# why: no verdict waits for the daemon
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import threading
def f():
    for _ in range(8):
        if os.fork() == 0:
            end = time.time() + 3
            while time.time() < end: pass
            os._exit(0)
    time.sleep(.3); s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
attempt(f)
