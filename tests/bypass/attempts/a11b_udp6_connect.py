#!/usr/bin/python3
# id: a11b_udp6_connect
# title: UDP over IPv6, connected
# needs: user
# expect: block
# why: sends have no destination
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.connect((FORB6, P_UDP)); s.send(TOK.encode())
attempt(f)
