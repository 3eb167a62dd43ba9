#!/usr/bin/python3
# id: d20l_quic6_forbidden_sni
# title: QUIC over IPv6 to the allowed address with the forbidden name
# needs: user
# expect: block
# why: as d20b
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
try: import aioquic
except ImportError: cannot('no aioquic')
def f(): quic(ALLOW6, FNAME)
attempt(f, dst=(ALLOW6,), chan=('quic',))
