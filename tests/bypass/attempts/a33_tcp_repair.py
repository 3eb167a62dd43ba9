#!/usr/bin/python3
# id: a33_tcp_repair
# title: TCP_REPAIR socket: a connection that exists by declaration, no SYN
# needs: root
# expect: block
# why: there is no handshake to judge
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import struct
def f():
    s = socket.socket(); s.setsockopt(6, 19, 1); s.bind((myip(), 0))
    for queue in (1, 2): s.setsockopt(6, 20, queue); s.setsockopt(6, 21, 1000)
    s.setsockopt(6, 20, 0); s.connect((FORB, P_TCP)); s.setsockopt(6, 29, struct.pack('5I', 1000, 65535, 65535, 65535, 1000)); s.setsockopt(6, 19, -1); s.send(TOK.encode() + b'\n'); time.sleep(.3)
attempt(f, chan=('tcp', 'pkt'))
