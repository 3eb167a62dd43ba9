#!/usr/bin/python3
# id: e03_memfd_exec
# title: a program that is executed from memory (memfd, fexecve)
# needs: user
# expect: block
# why: there is no path, and the inode is new
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    m = os.memfd_create('x', 0); os.write(m, open(E('BP_DIR', HERE + '/..') + '/build/conn' + '.static', 'rb').read()); subprocess.run([f'/proc/self/fd/{m}', FORB, '8000', TOK], pass_fds=[m], timeout=8)
attempt(f)
