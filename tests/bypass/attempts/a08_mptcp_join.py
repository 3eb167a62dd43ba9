#!/usr/bin/python3
# id: a08_mptcp_join
# title: MPTCP to the allowed address with an allowed name; the peer then opens a path to a forbidden address
# needs: root
# expect: block
# why: the kernel itself connects the second subflow, in a kworker
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    before = ctl('PKT').get(FORB2, 0)
    subprocess.run('ip mptcp limits set subflow 4 add_addr_accepted 4', shell=True, check=True)
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); s.settimeout(5); s.connect((ALLOW, P_TLS)); tls(ALLOW, ANAME, ANAME, s=s)
    for _ in range(15):
        if ctl('PKT').get(FORB2, 0) > before: print('REACHED by a second path'); os._exit(0)
        time.sleep(.1)
    print('stopped'); os._exit(1)
resolve(); attempt(f)
