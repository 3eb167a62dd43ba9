#!/usr/bin/python3
# id: c40_cgroup_namespace
# title: a user and a cgroup namespace of its own: the path of its cgroup is /
# needs: user
# expect: block
# why: a cgroup is matched by id, not by the path that the process sees
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    L = ctypes.CDLL(None, use_errno=True)
    if L.unshare(0x10000000 | 0x02000000): cannot(os.strerror(ctypes.get_errno()))
    s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
attempt(apart(f))
