#!/usr/bin/python3
# id: b20m_nft_dnat_after_refusal
# title: as b20d, after a connect to the forbidden host that was refused
# needs: root
# expect: block
# why: what was refused is not what the socket is connected to
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    subprocess.run(f'nft add table ip bpnat && nft "add chain ip bpnat o {{ type nat hook output priority -100 ; }}" && nft add rule ip bpnat o ip daddr {ALLOW} udp dport 53 dnat to {FORB}:{P_UDP}', shell=True, check=True)
    s = socket.socket(type=socket.SOCK_DGRAM); s.connect((ALLOW, 53))
    try:
        try: s.connect((FORB, P_UDP))
        except OSError as e: print(e)
        talk(s)
    finally: subprocess.run('nft delete table ip bpnat', shell=True)
attempt(f)
