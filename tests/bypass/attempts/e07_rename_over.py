#!/usr/bin/python3
# id: e07_rename_over
# title: the file of a running program is replaced by another one
# needs: user
# expect: block
# why: late reads of the path give the other file
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import shutil, subprocess, tempfile
def f():
    d = tempfile.mkdtemp(); shutil.copy(E('BP_DIR', HERE + '/..') + '/build/conn' + '.static', d + '/x'); p = subprocess.Popen([d + '/x', FORB, '8000', TOK]); shutil.copy('/bin/true', d + '/y'); os.rename(d + '/y', d + '/x'); p.wait(8)
attempt(f)
