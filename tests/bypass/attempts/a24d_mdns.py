#!/usr/bin/python3
# id: a24d_mdns
# title: multicast DNS, LLMNR and SSDP to their groups
# needs: user
# expect: block
# why: every host on the link reads a query
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    for g, p in (('224.0.0.251', 5353), ('224.0.0.252', 5355), ('239.255.255.250', 1900)):
        s = socket.socket(type=socket.SOCK_DGRAM); s.setsockopt(0, 32, socket.inet_aton(myip()))
        try: s.sendto(dnsq(f'{TOK}.local', 12), (g, p))
        except OSError: pass
attempt(f, dst=('224.0.0.251', '224.0.0.252', '239.255.255.250'), chan=('pkt',))
