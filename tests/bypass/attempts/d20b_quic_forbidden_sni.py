#!/usr/bin/python3
# id: d20b_quic_forbidden_sni
# title: QUIC v1 to the allowed address with the forbidden name
# needs: user
# expect: block
# why: the Initial can be decrypted by whoever sees it
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
try: import aioquic
except ImportError: cannot('no aioquic')
def f(): quic(ALLOW, FNAME)
attempt(f, dst=(ALLOW,), chan=('quic',))
