#!/usr/bin/python3
# id: b20_nft_dnat_tls
# title: nftables rewrites the allowed address to the forbidden one (DNAT); TLS with the allowed name
# needs: root
# expect: block
# why: connect sees the allowed address, egress the translated one
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    subprocess.run(f'nft add table ip bpnat && nft "add chain ip bpnat o {{ type nat hook output priority -100 ; }}" && nft add rule ip bpnat o ip daddr {ALLOW} tcp dport 443 dnat to {FORB}:443', shell=True, check=True)
    try: tls(ALLOW, ANAME, ANAME)
    finally: subprocess.run('nft delete table ip bpnat', shell=True)
resolve(); attempt(f)
