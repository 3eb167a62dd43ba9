#!/usr/bin/python3
# id: f04_detach_links
# title: root detaches every link that governd holds
# needs: root
# stage: own
# expect: detect
# why: root with CAP_BPF is out of reach of any hook; governd must notice that its links are gone
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import glob, re, subprocess
def f():
    p = E('GOVERND_PID')
    if p:
        for i in glob.glob(f'/proc/{p}/fdinfo/*'):
            m = re.search(r'^link_id:\s*(\d+)', open(i).read(), re.M)
            if m: subprocess.run(['bpftool', 'link', 'detach', 'id', m[1]])
        time.sleep(3)
    s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
attempt(f)
