#!/usr/bin/python3
# id: c16d_older_listener
# title: a listening socket that is older than governd; the outsider dials in
# needs: user
# stage: late-daemon
# expect: block
# why: as c15 and c16b together
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    l = socket.socket(); l.bind(('0.0.0.0', 0)); l.listen(4); go_on(); ctl(f'DIAL 10.99.0.1 {l.getsockname()[1]}'); l.settimeout(3); c, _ = l.accept(); c.sendall(TOK.encode() + b'\n'); time.sleep(.5)
attempt(f)
