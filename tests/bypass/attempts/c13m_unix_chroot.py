#!/usr/bin/python3
# id: c13m_unix_chroot
# title: a listed name below another root directory
# needs: root
# expect: out
# why: as c13k: a name begins at the root directory of who asks
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    import tempfile
    d = tempfile.mkdtemp(); os.makedirs(d + RUN); os.link(RUN + '/proxy.sock', d + RUN + '/fd.sock'); back = os.open('/', 0); os.chroot(d)
    try: proxied(RUN + '/fd.sock')
    finally: os.fchdir(back); os.chroot('.')
attempt(f)
