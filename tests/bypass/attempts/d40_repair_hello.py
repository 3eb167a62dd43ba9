#!/usr/bin/python3
# id: d40_repair_hello
# title: TCP_REPAIR takes a connection over into a new socket before the first byte; then the forbidden hello
# needs: root
# expect: block
# why: the socket that sends never sent a SYN
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import struct
def f():
    a = socket.create_connection((ALLOW, 443), 3); me = a.getsockname(); a.setsockopt(6, 19, 1); at = {}
    for queue in (1, 2): a.setsockopt(6, 20, queue); at[queue] = a.getsockopt(6, 21)
    window = a.getsockopt(6, 29, 20); scale = a.getsockopt(6, 11, 8)[6]; a.close()   # scale: both ways, four bits each
    s = socket.socket(); s.setsockopt(6, 19, 1); s.setsockopt(1, 2, 1); s.bind(me)
    for queue in (1, 2): s.setsockopt(6, 20, queue); s.setsockopt(6, 21, (at[queue] & 0xffffffff).to_bytes(4, 'little'))
    s.setsockopt(6, 20, 0); s.connect((ALLOW, 443)); s.setsockopt(6, 29, window)
    # The answer to what leaving the repair sends has the window in the scale that the first socket agreed to.
    s.setsockopt(6, 22, struct.pack('II', 3, scale & 15 | scale >> 4 << 16)); s.setsockopt(6, 19, 0); s.settimeout(5); tls(ALLOW, f'{TOK}.{FNAME}', FNAME, s=s, ctx=one_group)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
