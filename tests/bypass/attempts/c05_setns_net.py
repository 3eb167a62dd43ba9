#!/usr/bin/python3
# id: c05_setns_net
# title: setns() into another network namespace that can reach the destination
# needs: root
# expect: block
# why: cgroup hooks are not tied to a netns and must still fire; verdicts keyed by ifindex/netns are wrong
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import struct, subprocess, threading, ctypes
def f():
    fd = os.open(E('BP_FAR', '/run/netns/bps'), os.O_RDONLY); 
    if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000): raise OSError('setns')
    s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
attempt(f)
