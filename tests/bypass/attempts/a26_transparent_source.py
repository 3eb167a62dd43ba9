#!/usr/bin/python3
# id: a26_transparent_source
# title: IP_TRANSPARENT socket with a source address that is not ours
# needs: root
# expect: block
# why: nothing may be keyed on the source address
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(type=socket.SOCK_DGRAM); s.setsockopt(0, 19, 1); s.bind(('10.97.0.9', 0)); s.sendto(TOK.encode(), (FORB, P_UDP))
attempt(f)
