#!/usr/bin/python3
# id: k23_tls_upload
# title: control: 2 MB over TLS after an allowed hello
# needs: user
# expect: control
# why: nothing after the hello is read
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import ssl
def f():
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE
    s = c.wrap_socket(socket.create_connection((ALLOW, 443), 3), server_hostname=ANAME); s.sendall(b'a' * 2000000 + TOK.encode() + b'\n'); s.settimeout(1)
    try:
        while s.recv(65536): pass
    except OSError: pass
attempt(f, dst=(ALLOW,), chan=('tls',))
