#!/usr/bin/python3
# id: b20f_nft_dnat_port
# title: nftables rewrites an allowed port of the allowed host to one that no rule allows
# needs: root
# expect: block
# why: the address is the allowed one, the service is not
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    subprocess.run(f'nft add table ip bpnat && nft "add chain ip bpnat o {{ type nat hook output priority -100 ; }}" && nft add rule ip bpnat o ip daddr {ALLOW} tcp dport 80 dnat to {ALLOW}:{P_TCP}', shell=True, check=True)
    try: s = socket.create_connection((ALLOW, 80), 3); talk(s, http_get(ANAME))
    finally: subprocess.run('nft delete table ip bpnat', shell=True)
resolve(); attempt(f, dst=(ALLOW,), chan=('tcp',))
