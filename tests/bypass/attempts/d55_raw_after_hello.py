#!/usr/bin/python3
# id: d55_raw_after_hello
# title: an allowed hello, and then bytes of another protocol on a port where no TLS server answers
# needs: user
# expect: out
# why: the peer is the allowed name by every sign there is
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, P_RAW), 3); s.sendall(client_hello(ANAME)[0]); time.sleep(.2); talk(s)
attempt(f, dst=(ALLOW,), chan=('raw',))
