#!/usr/bin/python3
# id: a05b_tfo6_sendto
# title: TCP Fast Open over IPv6: sendto with MSG_FASTOPEN
# needs: user
# expect: block
# why: the data is in the SYN
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    for _ in range(2):
        s = socket.socket(socket.AF_INET6); s.settimeout(3)
        try: s.sendto(TOK.encode() + b'\n', 0x20000000, (FORB6, P_TFO)); s.recv(100)
        except OSError as e: print(e)
        s.close()
attempt(f)
