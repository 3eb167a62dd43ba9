#!/usr/bin/python3
# id: d44_resumption_no_name
# title: TLS 1.2 session of the allowed name, resumed without a server name
# needs: user
# expect: block
# why: no name, no match, whatever the session knows
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import ssl
def f():
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE; c.maximum_version = ssl.TLSVersion.TLSv1_2
    a = c.wrap_socket(socket.create_connection((ALLOW, 443), 3), server_hostname=ANAME); a.sendall(http_get(ANAME, 'x')); a.recv(100)
    b = c.wrap_socket(socket.create_connection((ALLOW, 443), 3), session=a.session); b.sendall(http_get(FNAME)); b.recv(100)
attempt(f, dst=(ALLOW,), chan=('tls',))
