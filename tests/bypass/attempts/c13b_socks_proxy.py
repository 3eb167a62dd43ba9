#!/usr/bin/python3
# id: c13b_socks_proxy
# title: SOCKS5 through an ungoverned proxy on loopback
# needs: user
# expect: block
# why: loopback is a destination that needs a rule
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection(('127.0.0.1', 1080), 3); s.sendall(b'\5\1\0'); s.recv(2); s.sendall(b'\5\1\0\1' + socket.inet_aton(FORB) + P_TCP.to_bytes(2, 'big')); s.recv(100); talk(s)
attempt(f)
