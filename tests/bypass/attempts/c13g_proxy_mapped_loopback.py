#!/usr/bin/python3
# id: c13g_proxy_mapped_loopback
# title: the proxy on loopback by ::ffff:127.0.0.1 and other addresses of 127.0.0.0/8
# needs: user
# expect: block
# why: every form of loopback
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_INET6); s.settimeout(3); s.connect(('::ffff:127.0.0.1', 3128)); s.sendall(f'CONNECT {FORB}:8000 HTTP/1.1\r\n\r\n'.encode()); s.recv(1000); talk(s)
attempt(f)
