#!/usr/bin/python3
# id: a04_v4mapped
# title: AF_INET6 socket to ::ffff:a.b.c.d
# needs: user
# expect: block
# why: connect6 sees the mapped address, egress sees IPv4
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_INET6); s.settimeout(3); s.connect(('::ffff:' + FORB, P_TCP)); talk(s)
attempt(f)
