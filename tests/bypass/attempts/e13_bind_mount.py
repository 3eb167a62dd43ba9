#!/usr/bin/python3
# id: e13_bind_mount
# title: in a mount namespace of its own the program lies over another path
# needs: user
# expect: block
# why: the same path is another file there
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
CONN = E('BP_DIR', HERE + '/..') + '/build/conn'
def f(): subprocess.run(['unshare', '-rm', 'sh', '-c', f'mount --bind {CONN} /usr/bin/true && exec /usr/bin/true {FORB} 8000 {TOK}'], timeout=8)
attempt(f)
