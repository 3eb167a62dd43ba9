#!/usr/bin/python3
# id: f07_child_override
# title: attach an allow-all program to a child cgroup with BPF_F_ALLOW_OVERRIDE/MULTI
# needs: root
# stage: own
# expect: block
# why: with links/MULTI all programs run and deny wins; with legacy OVERRIDE attach the child replaces the parent
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import struct, subprocess, threading, ctypes
def f():
    i = E('BP_INCG')
    if i:
        d = i + '/ovr%d' % os.getpid(); os.makedirs(d)
        src = RUN + '/allow.c'; pins = '/sys/fs/bpf/bpovr%d' % os.getpid(); open(src, 'w').write('#include <linux/bpf.h>\n__attribute__((section("cgroup/connect4"),used)) int a(struct bpf_sock_addr*c){return 1;}\n__attribute__((section("cgroup_skb/egress"),used)) int e(struct __sk_buff*c){return 1;}\n__attribute__((section("license"),used)) char l[]="GPL";')
        subprocess.run(('clang -O2 -g -target bpf -c /tmp/bp-allow.c -o /tmp/bp-allow.o -I/usr/include/x86_64-linux-gnu && rm -rf /sys/fs/bpf/bpovr; mkdir -p /sys/fs/bpf/bpovr && bpftool prog loadall /tmp/bp-allow.o /sys/fs/bpf/bpovr; for m in override multi ""; do bpftool cgroup attach %s connect4 pinned /sys/fs/bpf/bpovr/a $m; bpftool cgroup attach %s egress pinned /sys/fs/bpf/bpovr/e $m; done' % (d, d)).replace('/tmp/bp-allow', RUN + '/allow').replace('/sys/fs/bpf/bpovr', pins) + '; rm -rf ' + pins, shell=True, stderr=subprocess.DEVNULL)
        open(d + '/cgroup.procs', 'w').write('0')
    s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
attempt(f)
