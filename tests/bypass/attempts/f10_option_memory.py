#!/usr/bin/python3
# id: f10_option_memory
# title: the option memory of a socket that another process made is used up, then it is connected
# needs: user
# stage: own
# expect: block
# why: socket storage is charged to that memory: what cannot be stored must deny
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import struct
def f():
    s = foreign('fresh'); f = struct.pack('HBBI', 6, 0, 0, 0xffffffff); n = 0
    for k in (3900, 2000, 1000, 500, 200, 100, 50, 20, 10, 5, 2, 1):
        b = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 65535) * k)
        try: s.setsockopt(1, 26, struct.pack('HxxxxxxP', k, ctypes.addressof(b)))
        except OSError as e: print(k, e); continue
    groups = 0
    try:
        for k in range(20000): s.setsockopt(0, 35, socket.inet_aton(f'239.{k >> 16 & 255}.{k >> 8 & 255}.{k & 255}') + socket.inet_aton(myip())); groups += 1
    except OSError as e: print('groups', groups, e)
    s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
attempt(f)
