#!/usr/bin/python3
# id: c13k_unix_bind_mount
# title: a listed name that another socket is mounted over, in a mount namespace of root's own
# needs: root
# expect: out
# why: the kernel's hook sees names
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    import subprocess
    if ctypes.CDLL(None).unshare(0x20000): broken('no mount namespace')
    subprocess.run(f'mount --make-rprivate / && mount --bind {RUN}/proxy.sock {RUN}/fd.sock', shell=True, check=True); proxied(RUN + '/fd.sock')
attempt(f)
