#!/usr/bin/python3
# id: c60_process_vm_writev
# title: process_vm_writev: writes into the memory of another process of the same user, which sends it
# needs: user
# expect: detect
# why: no descriptor, no connection and no tracing: the other process sends in its own name
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
class Iov(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]
def f():
    v = json.load(open(RUN + '/sender')); b = ctypes.create_string_buffer(TOK.encode() + b'\n'); L = ctypes.CDLL(None, use_errno=True)
    here, there = Iov(ctypes.addressof(b), len(b)), Iov(v['at'], len(b))
    if L.process_vm_writev(v['pid'], ctypes.byref(here), 1, ctypes.byref(there), 1, 0) < 0: raise OSError(ctypes.get_errno(), 'process_vm_writev')
    time.sleep(.5)
attempt(f)
