#!/usr/bin/python3
# id: e01_renamed_copy
# title: a copy of the program under another name
# needs: user
# expect: block
# why: the subject is not the name of a file
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import shutil, subprocess, tempfile
def f():
    p = tempfile.mkdtemp() + '/systemd-resolved'; shutil.copy(E('BP_DIR', HERE + '/..') + '/build/conn', p); subprocess.run([p, FORB, '8000', TOK], timeout=8)
attempt(f)
