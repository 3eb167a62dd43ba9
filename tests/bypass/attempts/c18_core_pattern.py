#!/usr/bin/python3
# id: c18_core_pattern
# title: root names a program of its own in kernel.core_pattern and crashes: the kernel starts it
# needs: root
# expect: block
# why: what the kernel starts is no descendant of the workload, nor in its cgroup
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import resource, signal, subprocess
def f():
    path = '/proc/sys/kernel/core_pattern'; before = open(path).read(); me = f'/proc/{os.getpid()}'; helper = f'/tmp/bpcore{os.getpid()}'
    # The kernel looks the program up from the root of its own first process, which may be another.
    with open(helper, 'w') as h: h.write(f'#!/bin/sh\nexec nsenter --root={me}/root --net={me}/ns/net {os.path.abspath(HERE)}/../build/conn {FORB} {P_TCP} {TOK}\n')
    os.chmod(helper, 0o755)
    try:
        open(path, 'w').write(f'|{me}/root{helper}')
        c = subprocess.Popen(['sleep', '9'], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)); c.send_signal(signal.SIGSEGV); c.wait(); time.sleep(.5)
    finally:
        try: open(path, 'w').write(before)
        except OSError: pass
        os.unlink(helper)
attempt(f)
