#!/usr/bin/python3
# id: c44_pidfd_getfd_sendmsg
# title: a socket taken by pidfd_getfd, sent on with sendfile and splice
# needs: user
# expect: block
# why: no send call names a destination
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    v = json.load(open(RUN + '/victim')); L = ctypes.CDLL(None, use_errno=True); p = L.syscall(434, v['pid'], 0); fd = L.syscall(438, p, v['fd'], 0)
    if fd < 0: raise OSError(ctypes.get_errno(), 'pidfd_getfd')
    m = os.memfd_create('x'); os.write(m, TOK.encode() + b'\n'); os.sendfile(fd, m, 0, 20); r, w = os.pipe(); os.write(w, TOK.encode() + b'\n'); os.splice(r, fd, 20); time.sleep(.3)
attempt(f)
