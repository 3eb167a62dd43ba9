#!/usr/bin/python3
# id: a22_udplite
# title: UDP-Lite sendto
# needs: user
# expect: block
# why: protocol 136 has its own socket type but the same hooks
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    try: s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)
    except OSError as e:
        if e.errno in (93, 94, 97): cannot(e)
        raise
    s.sendto(TOK.encode(), (FORB, 8011))
attempt(f)
