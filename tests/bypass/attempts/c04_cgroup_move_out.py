#!/usr/bin/python3
# id: c04_cgroup_move_out
# title: root moves itself into an ungoverned cgroup, then connects
# needs: root
# expect: block
# why: lineage must keep the subject when the cgroup changes
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    open(E('BP_OUTCG', '/sys/fs/cgroup') + '/cgroup.procs', 'w').write('0'); s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
attempt(f)
