#!/usr/bin/python3
# id: c20_spawn_service
# title: asks a local service (docker.sock, systemd-run, at, D-Bus) to start a program
# needs: user
# expect: detect
# why: the program is no descendant; connect_unix can refuse the service
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    u = socket.socket(socket.AF_UNIX); u.settimeout(8); u.connect(RUN + '/docker.sock'); u.sendall(json.dumps([E('BP_DIR', HERE + '/..') + '/build/conn', FORB, '8000', TOK]).encode()); u.recv(10)
attempt(f)
