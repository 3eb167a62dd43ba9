#!/usr/bin/python3
# id: c60b_proc_mem
# title: as c60, by /proc/PID/mem
# needs: user
# expect: detect
# why: a file is written, and closed at once
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    v = json.load(open(RUN + '/sender'))
    m = os.open(f'/proc/{v["pid"]}/mem', os.O_RDWR); os.pwrite(m, TOK.encode() + b'\n\0', v['at']); os.close(m); time.sleep(.5)
attempt(f)
