#!/usr/bin/python3
# id: c13d_abstract_proxy
# title: proxy reached over an abstract AF_UNIX socket
# needs: user
# expect: detect
# why: no path in a file system: only connect_unix sees the name
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(socket.AF_UNIX); s.connect('\0bpproxy'); s.sendall(f'CONNECT {FORB}:8000 HTTP/1.1\r\n\r\n'.encode()); s.recv(1000); talk(s)
attempt(f)
