#!/usr/bin/python3
# id: k31_reads_memory
# title: looks at the memory and arguments of another process, as ps and debuggers do; that process then sends
# needs: user
# expect: control
# why: reading is not writing: the other process stays its own
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
class Iov(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]
def f():
    for p in filter(str.isdigit, os.listdir('/proc')):
        for n in 'cmdline', 'environ', 'maps', 'status':
            try: open(f'/proc/{p}/{n}', 'rb').read()
            except OSError: pass
    v = json.load(open(RUN + '/sender')); b = ctypes.create_string_buffer(8); L = ctypes.CDLL(None, use_errno=True)
    here, there = Iov(ctypes.addressof(b), 8), Iov(v['at'], 8)
    if L.process_vm_readv(v['pid'], ctypes.byref(here), 1, ctypes.byref(there), 1, 0) != 8: raise OSError(ctypes.get_errno(), 'process_vm_readv')
    # Somebody else gives it the token: it sends as before.
    open(RUN + f'/give-{v["pid"]}', 'w').write(TOK); time.sleep(.7)
attempt(f, dst=(FORB,))
