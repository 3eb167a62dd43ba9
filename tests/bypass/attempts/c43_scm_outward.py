#!/usr/bin/python3
# id: c43_scm_outward
# title: the workload gives its socket to an ungoverned process, which connects it
# needs: user
# expect: block
# why: the connect hook runs as the other process; the workload then sends
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(); u = socket.socket(socket.AF_UNIX); u.settimeout(5); u.connect(RUN + '/fd.sock'); u.sendall(f'dial {FORB} {P_TCP}'.encode()); u.recv(1)
    socket.send_fds(u, [b'x'], [s.fileno()]); print(u.recv(1)); talk(s)
attempt(f)
