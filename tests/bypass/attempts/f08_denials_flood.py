#!/usr/bin/python3
# id: f08_denials_flood
# title: 100,000 denied sends that each wake the reader, a forbidden connect in the middle
# needs: user
# stage: own
# expect: block
# why: as f01, for events that are submitted with a wake
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import threading
def f():
    def flood():
        u = socket.socket(type=socket.SOCK_DGRAM)
        for k in range(50000):
            try: u.sendto(b'x', (FORB, 9))
            except OSError: pass
    t = [threading.Thread(target=flood, daemon=True) for _ in range(2)]; [x.start() for x in t]; time.sleep(.5)
    s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
attempt(f)
