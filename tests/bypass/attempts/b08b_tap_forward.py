#!/usr/bin/python3
# id: b08b_tap_forward
# title: TAP device: Ethernet frames that the kernel forwards
# needs: root
# expect: block
# why: as b08, one layer lower
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import fcntl, struct, subprocess
def f():
    t = os.open('/dev/net/tun', os.O_RDWR); fcntl.ioctl(t, 0x400454ca, struct.pack('16sH22x', b'bptap', 0x1002))
    subprocess.run('ip addr add 10.97.0.1/24 dev bptap; ip link set bptap up; sysctl -qw net.ipv4.ip_forward=1', shell=True); time.sleep(.3)
    mac = bytes.fromhex(open('/sys/class/net/bptap/address').read().strip().replace(':', '')) if os.path.exists('/sys/class/net/bptap/address') else b'\xff' * 6
    out = subprocess.run(['ip', '-br', 'link', 'show', 'bptap'], capture_output=True, text=True).stdout.split(); mac = bytes.fromhex(out[2].replace(':', ''))
    for _ in range(3): os.write(t, mac + b'\2' * 6 + b'\x08\0' + ip4('10.97.0.2', FORB, 17, udp4('10.97.0.2', FORB, 4444, P_UDP, TOK.encode()))); time.sleep(.1)
attempt(f, chan=('udp', 'pkt'))
