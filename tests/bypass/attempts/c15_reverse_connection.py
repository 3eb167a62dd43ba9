#!/usr/bin/python3
# id: c15_reverse_connection
# title: the outsider connects in, and the workload answers on that connection
# needs: user
# expect: block
# why: no connect hook runs for what was accepted
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    l = socket.socket(); l.bind(('0.0.0.0', 0)); l.listen(4); ctl(f'DIAL 10.99.0.1 {l.getsockname()[1]}'); l.settimeout(3); c, _ = l.accept(); c.sendall(TOK.encode() + b'\n'); time.sleep(.5)
attempt(f)
