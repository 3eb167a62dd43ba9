#!/usr/bin/python3
# id: c52_threaded_cgroup
# title: one thread moves into a threaded cgroup below and connects from there
# needs: root
# expect: block
# why: its cgroup is not that of its process
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import threading
def f():
    own = open('/proc/self/cgroup').read().split('0::')[1].split('\n')[0]; root = E('BP_CGROUP_ROOT', '/sys/fs/cgroup/unified')
    d = next(p for p in (root + own, '/sys/fs/cgroup/unified' + own, '/sys/fs/cgroup' + own) if os.path.exists(p + '/cgroup.type')) + '/threads'
    os.mkdir(d); open(d + '/cgroup.type', 'w').write('threaded')
    def t():
        open(d + '/cgroup.threads', 'w').write(str(threading.get_native_id())); s = socket.create_connection((FORB, P_TCP), 3); talk(s)
    x = threading.Thread(target=t); x.start(); x.join(); time.sleep(.2); os.rmdir(d)
attempt(f)
