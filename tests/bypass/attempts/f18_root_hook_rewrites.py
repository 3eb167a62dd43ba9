#!/usr/bin/python3
# id: f18_root_hook_rewrites
# title: root attaches a connect hook of its own at the governed cgroup, behind governd's, that rewrites the address
# needs: root
# stage: own
# expect: block
# why: what was judged is not what is connected to
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
from kernelbpf import *
def f():
    resolve(); d = os.open(E('BP_OUTCG'), os.O_RDONLY); word = lambda a: int.from_bytes(socket.inet_aton(a), 'little')
    # if the address is the allowed one, it is the forbidden one; return 1
    code = [i(0x61, 2, 1, 4, 0), i(0xb4, 3, 0, 0, signed(word(ALLOW))), i(0x1d, 2, 3, 1, 0), i(0x05, 0, 0, 2, 0), i(0xb4, 2, 0, 0, signed(word(FORB))), i(0x63, 1, 2, 4, 0), i(0xb7, 0, 0, 0, 1), i(0x95, 0, 0, 0, 0)]
    link(load(SOCK_ADDR, code, attach=INET4_CONNECT), d, INET4_CONNECT)
    tls(ALLOW, ANAME, f'{ANAME}', path=TOK)
attempt(f, chan=('sni', 'tls', 'tcp'))
