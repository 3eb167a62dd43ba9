#!/usr/bin/python3
# id: c33_pid_namespace
# title: a user and a PID namespace of its own: the child is process 1 there
# needs: user
# expect: block
# why: process ids are those of the initial namespace
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    L = ctypes.CDLL(None, use_errno=True)
    if L.unshare(0x10000000 | 0x20000000): cannot(os.strerror(ctypes.get_errno()))
    if os.fork() == 0:
        try: s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
        except OSError as e: print(e)
        os._exit(0)
    os.wait()
attempt(apart(f))
