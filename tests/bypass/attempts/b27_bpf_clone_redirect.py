#!/usr/bin/python3
# id: b27_bpf_clone_redirect
# title: root has a BPF program of its own send a frame in a test run (BPF_PROG_TEST_RUN)
# needs: root
# expect: detect
# why: no socket of any process sends it
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
from kernelbpf import *
def f():
    # if clone_redirect(packet, index, 0); return 0
    code = [i(0xb7, 2, 0, 0, socket.if_nametoindex('v0')), i(0xb7, 3, 0, 0, 0), i(0x85, 0, 0, 0, 13), i(0xb7, 0, 0, 0, 0), i(0x95, 0, 0, 0, 0)]
    p = load(SCHED_CLS, code); frame = b'\xff' * 6 + b'\x02\0\0\0\0\1\x08\0' + ip4(myip(), FORB, 17, udp4(myip(), FORB, 5555, P_UDP, TOK.encode()))
    run(p, frame); time.sleep(.5)
attempt(f, chan=('udp', 'pkt'))
