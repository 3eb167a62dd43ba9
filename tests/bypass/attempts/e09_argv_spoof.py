#!/usr/bin/python3
# id: e09_argv_spoof
# title: argv[0] and the whole command line say another program
# needs: user
# expect: block
# why: argv belongs to the process
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f(): subprocess.run(['/lib/systemd/systemd-resolved', FORB, '8000', TOK], executable=E('BP_DIR', HERE + '/..') + '/build/conn', timeout=8)
attempt(f)
