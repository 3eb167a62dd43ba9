#!/usr/bin/python3
# id: c13l_unix_user_namespace
# title: as c13k, in a user namespace of nobody's own
# needs: user
# expect: block
# why: as c13k: there everybody may mount
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def inside():
    libc = ctypes.CDLL(None); mount = lambda a, b, flags: libc.mount(a.encode(), b.encode(), None, flags, None)
    if libc.unshare(0x10020000): os._exit(2)
    if mount('none', '/', 0x44000) or mount(RUN + '/proxy.sock', RUN + '/fd.sock', 0x1000): os._exit(3)
    try: proxied(RUN + '/fd.sock')
    except OSError as e: print(e, flush=True)
    os._exit(0)
def f():
    pid = os.fork() or inside(); code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 2: cannot('no user namespaces for users')
    if code: broken('nothing can be mounted')
attempt(f)
