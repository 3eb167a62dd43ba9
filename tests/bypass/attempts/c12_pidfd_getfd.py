#!/usr/bin/python3
# id: c12_pidfd_getfd
# title: pidfd_getfd: takes the connected socket of another process of the same user
# needs: user
# expect: block
# why: the owner of the socket is the other process, the sender is the workload
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    v = json.load(open(RUN + '/victim')); L = ctypes.CDLL(None, use_errno=True); p = L.syscall(434, v['pid'], 0); fd = L.syscall(438, p, v['fd'], 0)
    if fd < 0: raise OSError(ctypes.get_errno(), 'pidfd_getfd')
    talk(socket.socket(fileno=fd))
attempt(f)
