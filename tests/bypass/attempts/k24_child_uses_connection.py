#!/usr/bin/python3
# id: k24_child_uses_connection
# title: control: a connection that the parent made, used by a child that executed another program
# needs: user
# expect: control
# why: the child is the same subject
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    s = socket.create_connection((ALLOW, 80), 3); os.set_inheritable(s.fileno(), True); subprocess.run(['/bin/sh', '-c', f'printf "GET /{TOK} HTTP/1.1\\r\\nHost: {ANAME}\\r\\n\\r\\n" >&{s.fileno()}'], pass_fds=[s.fileno()], timeout=5); time.sleep(.3)
attempt(f, dst=(ALLOW, ALLOW6), chan=('http',))
