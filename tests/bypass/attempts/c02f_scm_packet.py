#!/usr/bin/python3
# id: c02f_scm_packet
# title: a bound packet socket received over SCM_RIGHTS
# needs: user
# expect: block
# why: another process made it, in another cgroup
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    s = foreign('packet', FORB, 0, socket.SOCK_RAW); s.send(b'\xff' * 6 + b'\2' * 6 + b'\x08\0' + ip4(myip(), FORB, 17, udp4(myip(), FORB, 4444, P_UDP, TOK.encode())))
attempt(f, chan=('udp', 'pkt'))
