#!/usr/bin/python3
# id: b20e_nft_dnat_tls6
# title: as b20 over IPv6
# needs: root
# expect: block
# why: connect sees the allowed address, egress the translated one
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    subprocess.run(f'nft add table ip6 bpnat && nft "add chain ip6 bpnat o {{ type nat hook output priority -100 ; }}" && nft add rule ip6 bpnat o ip6 daddr {ALLOW6} tcp dport 443 dnat to [{FORB6}]:443', shell=True, check=True)
    try: tls(ALLOW6, ANAME, ANAME)
    finally: subprocess.run('nft delete table ip6 bpnat', shell=True)
resolve(); attempt(f)
