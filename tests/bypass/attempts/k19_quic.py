#!/usr/bin/python3
# id: k19_quic
# title: control: QUIC v1 with the allowed name
# needs: user
# expect: control
# why: must pass where the rule says quic
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
try: import aioquic
except ImportError: cannot('no aioquic')
def f(): quic(ALLOW, ANAME)
attempt(f, dst=(ALLOW,), chan=('quic',))
