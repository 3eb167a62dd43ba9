#!/usr/bin/python3
# id: c06_cgroup_child
# title: root makes a cgroup below its own, moves there and connects
# needs: root
# expect: block
# why: a cgroup is matched with all its ancestors
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    d = E('BP_INCG') + f'/deep{os.getpid()}/er'
    os.makedirs(d); open(d + '/cgroup.procs', 'w').write('0'); s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
attempt(f)
