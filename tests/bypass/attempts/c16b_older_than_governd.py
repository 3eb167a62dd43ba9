#!/usr/bin/python3
# id: c16b_older_than_governd
# title: a connection that is older than governd
# needs: user
# stage: late-daemon
# expect: block
# why: the socket has no owner yet: its cgroup or the sender says who it is
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((FORB, P_TCP), 3); go_on(); talk(s)
attempt(f)
