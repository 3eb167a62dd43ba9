#!/usr/bin/python3
# id: e15_other_user
# title: root becomes a user that no policy knows, without a name
# needs: root
# expect: block
# why: the subject does not change with the uid
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    if os.fork() == 0:
        os.setgroups([]); os.setgid(54321); os.setuid(54321)
        try: s = socket.socket(); s.settimeout(3); s.connect((FORB, P_TCP)); talk(s)
        except OSError as e: print(e)
        os._exit(0)
    os.wait()
attempt(f)
