#!/usr/bin/python3
# id: b20d_nft_dnat_udp
# title: as b20b with a connected socket, and the forbidden host at another port
# needs: root
# expect: block
# why: a connected socket is judged once, its packets are translated
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    subprocess.run(f'nft add table ip bpnat && nft "add chain ip bpnat o {{ type nat hook output priority -100 ; }}" && nft add rule ip bpnat o ip daddr {ALLOW} udp dport 53 dnat to {FORB}:{P_UDP}', shell=True, check=True)
    try: s = socket.socket(type=socket.SOCK_DGRAM); s.connect((ALLOW, 53)); talk(s)
    finally: subprocess.run('nft delete table ip bpnat', shell=True)
attempt(f)
