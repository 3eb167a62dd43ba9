#!/usr/bin/python3
# id: a51_simultaneous_open
# title: TCP simultaneous open: both sides connect, and none listens
# needs: root
# expect: block
# why: there is no server, and the answer to the first packet is a SYN
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import select, subprocess
def f():
    # The own SYN does not leave: that of the other side finds a socket that waits for an answer.
    rules = 'table ip bpmeet { chain out { type filter hook output priority 0; tcp sport 7001 tcp flags & (syn | ack) == syn drop; }; }'
    subprocess.run(['nft', '-f', '-'], input=rules.encode(), check=True)
    try:
        s = socket.socket(); s.setsockopt(1, 2, 1); s.bind((myip(), 7001)); s.setblocking(False)
        try: s.connect((FORB, 7002))
        except BlockingIOError: pass
        ctl(f'MEET {myip()} 7001 7002'); select.select([], [s], [], 4); s.sendall(TOK.encode()); time.sleep(.5)
    finally: subprocess.run(['nft', 'delete', 'table', 'ip', 'bpmeet'])
attempt(f)
