#!/usr/bin/python3
# id: a52_addrform_udp
# title: an IPv6 socket made one of IPv4 by IPV6_ADDRFORM
# needs: user
# expect: block
# why: it changes its family after it was judged
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.connect(('::ffff:' + ALLOW, 8443)); s.setsockopt(41, 1, socket.AF_INET)
    to = b'\2\0' + P_UDP.to_bytes(2, 'big') + socket.inet_aton(FORB) + bytes(8)
    print(ctypes.CDLL(None).sendto(s.fileno(), TOK.encode(), len(TOK), 0, to, 16))
resolve(); attempt(f)
