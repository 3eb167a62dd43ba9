#!/usr/bin/python3
# id: c13f_proxy_zero_address
# title: the proxy on loopback by 0.0.0.0
# needs: user
# expect: block
# why: 0.0.0.0 is this host as well
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(); s.settimeout(3); s.connect(('0.0.0.0', 3128)); s.sendall(f'CONNECT {FORB}:8000 HTTP/1.1\r\n\r\n'.encode()); s.recv(1000); talk(s)
attempt(f)
