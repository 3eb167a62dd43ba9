#!/usr/bin/python3
# id: d20d_quic_version_negotiation
# title: QUIC that first offers a version that nobody knows
# needs: user
# expect: block
# why: the server answers with its versions, and only then comes a readable Initial
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
try: import aioquic
except ImportError: cannot('no aioquic')
def f(): quic(ALLOW, FNAME, supported_versions=[0x1a2a3a4a, 1], original_version=0x1a2a3a4a)
attempt(f, dst=(ALLOW,), chan=('quic',))
