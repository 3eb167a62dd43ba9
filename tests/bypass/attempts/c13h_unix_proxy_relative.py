#!/usr/bin/python3
# id: c13h_unix_proxy_relative
# title: the AF_UNIX proxy by a relative path through a symbolic link
# needs: user
# expect: detect
# why: a list of refused paths does not see it: only a list of allowed ones does
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import tempfile
def f():
    d = tempfile.mkdtemp(); os.symlink(RUN, d + '/link'); os.chdir(d); s = socket.socket(socket.AF_UNIX); s.connect('link/./proxy.sock'); s.sendall(f'CONNECT {FORB}:8000 HTTP/1.1\r\n\r\n'.encode()); s.recv(1000); talk(s)
attempt(f)
