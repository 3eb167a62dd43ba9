#!/usr/bin/python3
# id: c57d_scm_mptcp_fault
# title: a multipath connection received over SCM_RIGHTS, and bytes that stay queued because those behind cannot be read
# needs: user
# expect: block
# why: the kernel pushes nothing of a message that it could copy only in part, but does when the peer says something
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import mmap
def f():
    s = foreign('connectedmptcp', FORB, 8013); libc = ctypes.CDLL(None, use_errno=True); n = 1 << 15
    m = mmap.mmap(-1, 2 * n); at = ctypes.addressof(ctypes.c_char.from_buffer(m)); m[:n] = (TOK.encode() + b'\n').ljust(n, b'.')
    libc.mprotect(ctypes.c_void_p(at + n), n, 0)
    print('queued', libc.send(s.fileno(), ctypes.c_void_p(at), 2 * n, socket.MSG_NOSIGNAL))
    seen(dst=(FORB,), chan=REAL, wait=4)
attempt(f)
