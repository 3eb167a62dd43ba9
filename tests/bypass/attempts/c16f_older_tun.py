#!/usr/bin/python3
# id: c16f_older_tun
# title: a tun device that was opened before governd started
# needs: root
# stage: late-daemon
# expect: detect
# why: as b08, and no hook saw it being opened
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import fcntl, struct, subprocess
def f():
    t = os.open('/dev/net/tun', os.O_RDWR); fcntl.ioctl(t, 0x400454ca, struct.pack('16sH22x', b'bptun', 0x1001))
    subprocess.run('ip addr add 10.97.0.1/24 dev bptun; ip link set bptun up; sysctl -qw net.ipv4.ip_forward=1', shell=True); go_on(); time.sleep(2.5)
    for _ in range(3): os.write(t, ip4('10.97.0.2', FORB, 17, udp4('10.97.0.2', FORB, 4444, P_UDP, TOK.encode()))); time.sleep(.1)
attempt(f, chan=('udp', 'pkt'))
