#!/usr/bin/python3
# id: c57c_scm_mptcp_later_path
# title: a multipath connection received over SCM_RIGHTS, whose peer announces a further path
# needs: root
# expect: block
# why: a kernel worker sends what the first path could not deliver over the new one
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    # Nobody is there for the first packet of the further path, which is sent again a second later.
    there = 'dev v1 lladdr 02:00:00:00:00:01 nud permanent'
    announced_paths(); subprocess.run(f'ip neigh replace {FORB2} {there}', shell=True, check=True)
    s = foreign('connectedmptcp', FORB, P_MPTCP); s.sendall(TOK.encode() + b'\n'); time.sleep(.3)
    subprocess.run(f'ip neigh del {FORB2} dev v1', shell=True, check=True)
    seen(dst=(FORB2,), chan=REAL, wait=8); announced_paths(0)
attempt(f)
