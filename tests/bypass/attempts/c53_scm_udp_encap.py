#!/usr/bin/python3
# id: c53_scm_udp_encap
# title: connected UDP socket received over SCM_RIGHTS, declared the end of a tunnel (UDP_ENCAP)
# needs: user
# expect: block
# why: what leaves by a tunnel's socket is sent in anybody's context
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = foreign('connectedudp', FORB, P_UDP)
    for kind in (3, 2):
        try: s.setsockopt(17, 100, kind); break
        except OSError: pass
    s.send(TOK.encode()); time.sleep(.3)
attempt(f)
