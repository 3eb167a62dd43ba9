#!/usr/bin/python3
# id: b14_raw_fragments
# title: hand-made IP fragments; the second one has no ports
# needs: root
# expect: block
# why: no transport header after the first fragment
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255); u = udp4(myip(), FORB, 4444, P_UDP, b'.' * 40 + TOK.encode()); i = random.randrange(1, 65536)
    s.sendto(ip4(myip(), FORB, 17, u[:48], ident=i, mf=1), (FORB, 0)); s.sendto(ip4(myip(), FORB, 17, u[48:], ident=i, off=48), (FORB, 0))
attempt(f)
