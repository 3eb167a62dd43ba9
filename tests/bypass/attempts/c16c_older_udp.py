#!/usr/bin/python3
# id: c16c_older_udp
# title: a connected UDP socket that is older than governd
# needs: user
# stage: late-daemon
# expect: block
# why: as c16b, and no handshake ever follows
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = socket.socket(type=socket.SOCK_DGRAM); s.connect((FORB, P_UDP)); s.send(b'x'); go_on(); s.send(TOK.encode()); time.sleep(.2)
attempt(f)
