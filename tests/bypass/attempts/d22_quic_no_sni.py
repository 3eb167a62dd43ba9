#!/usr/bin/python3
# id: d22_quic_no_sni
# title: QUIC without a server name
# needs: user
# expect: block
# why: as d04
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
try: import aioquic
except ImportError: cannot('no aioquic')
def f(): quic(ALLOW, None)
attempt(f, dst=(ALLOW,), chan=('quic',))
