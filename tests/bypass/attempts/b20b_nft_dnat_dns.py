#!/usr/bin/python3
# id: b20b_nft_dnat_dns
# title: as b20 for the port of the trusted resolver
# needs: root
# expect: block
# why: a query for an allowed name goes to a host that is not the resolver
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    subprocess.run(f'nft add table ip bpnat && nft "add chain ip bpnat o {{ type nat hook output priority -100 ; }}" && nft add rule ip bpnat o ip daddr {ALLOW} udp dport 53 dnat to {FORB}:53', shell=True, check=True)
    try: ask(dnsq(f'{TOK}.{ANAME}'), tries=1)
    finally: subprocess.run('nft delete table ip bpnat', shell=True)
attempt(f)
