#!/usr/bin/python3
# id: c16_older_than_policy
# title: a connection that the policy allowed when it was made
# needs: user
# stage: policy-change
# expect: block
# why: a new policy judges live flows at their next packet
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((FORB, P_TCP), 3); go_on(); talk(s)
attempt(f)
