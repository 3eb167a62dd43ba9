#!/usr/bin/python3
# id: d28_tls_on_port_80
# title: TLS with the forbidden name on the port of plaintext HTTP
# needs: user
# expect: block
# why: the port does not say which protocol is spoken
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.create_connection((ALLOW, 80), 3); ch = client_hello(f'{TOK}.{FNAME}')[0]; s.sendall(ch); time.sleep(.3)
attempt(f, dst=(ALLOW,), chan=('bytes',))
