"""The few calls of bpf(2) that attempts make (include/uapi/linux/bpf.h)."""
import ctypes, os, struct
SCHED_CLS, SK_SKB, SOCK_ADDR, SOCKMAP, SK_SKB_VERDICT, INET4_CONNECT = 3, 14, 18, 15, 38, 10
_c = ctypes.CDLL(None, use_errno=True); _keep = []
def signed(n): return n - (1 << 32) if n >> 31 else n
def i(code, dst, src, off, imm): return struct.pack('<BBhi', code, dst | src << 4, off, imm)
def ld_map(reg, fd): return i(0x18, reg, 1, 0, fd) + i(0, 0, 0, 0, 0)
def at(data): b = ctypes.create_string_buffer(bytes(data), len(data)); _keep.append(b); return ctypes.addressof(b)
def bpf(cmd, attr):
    r = _c.syscall(321, cmd, ctypes.c_void_p(at(attr)), len(attr))
    if r < 0: e = ctypes.get_errno(); raise OSError(e, f'bpf({cmd}): {os.strerror(e)}')
    return r
def load(kind, code, attach=0):
    code = b''.join(code); log = ctypes.create_string_buffer(1 << 16); _keep.append(log)
    a = struct.pack('<IIQQIIQII16sII', kind, len(code) // 8, at(code), at(b'GPL\0'), 1, len(log), ctypes.addressof(log), 0, 0, b'bp', 0, attach)
    try: return bpf(5, a)
    except OSError as e: raise OSError(e.errno, f'{e.strerror} {log.value[-300:]}')
def create_map(kind, key, value, entries): return bpf(0, struct.pack('<IIIII', kind, key, value, entries, 0))
def update(m, key, value): return bpf(2, struct.pack('<IIQQQ', m, 0, at(struct.pack('<I', key)), at(struct.pack('<I', value)), 0))
def attach(program, target, kind): return bpf(8, struct.pack('<IIII', target, program, kind, 0))
def link(program, target, kind): return bpf(28, struct.pack('<IIII', program, target, kind, 0))
def run(program, data): return bpf(10, struct.pack('<IIIIQQIIIIQQ', program, 0, len(data), 0, at(data), 0, 1, 0, 0, 0, 0, 0))
