#!/usr/bin/python3
# id: c60c_proc_mem_pwritev
# title: as c60b, by pwritev(2)
# needs: user
# expect: detect
# why: other system calls than write(2) write files as well
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    v = json.load(open(RUN + '/sender')); d = TOK.encode() + b'\n\0'
    m = os.open(f'/proc/{v["pid"]}/mem', os.O_RDWR)
    os.pwritev(m, [d], v['at']); os.close(m); time.sleep(.5)
attempt(f)
