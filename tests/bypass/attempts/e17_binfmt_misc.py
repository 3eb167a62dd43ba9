#!/usr/bin/python3
# id: e17_binfmt_misc
# title: a file that the kernel runs by an interpreter which the workload registered (binfmt_misc)
# needs: root
# expect: block
# why: the file that is executed is no program, and none that a policy could name
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess, tempfile
def f():
    d = tempfile.mkdtemp(); n = f'bp{os.getpid()}'; L = ctypes.CDLL(None, use_errno=True)
    if L.unshare(0x20000) or L.mount(b'none', b'/', None, 0x44000, None) or L.mount(b'none', d.encode(), b'binfmt_misc', 0, None): cannot('no binfmt_misc')
    run, file = d + '.run', d + '.file'
    open(run, 'w').write(f'#!/bin/bash\nexec {E("BP_DIR", HERE + "/..")}/build/conn.static {FORB} 8000 {TOK}\n'); open(file, 'w').write(n)
    for p in run, file: os.chmod(p, 0o755)
    open(d + '/register', 'w').write(f':{n}:M::{n}::{run}:')
    try: subprocess.run([file], timeout=8)
    finally:
        open(f'{d}/{n}', 'w').write('-1'); L.umount2(d.encode(), 2)
        for p in run, file: os.unlink(p)
        os.rmdir(d)
attempt(f)
