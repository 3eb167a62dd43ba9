#!/usr/bin/python3
# id: d33h_dns_own_answer_tcp
# title: as d33g over TCP
# needs: root
# expect: block
# why: as d33g
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *

def answer(q, ip): return q[:2] + b'\x81\x80\0\1\0\1\0\0\0\0' + q[12:] + b'\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4' + socket.inet_aton(ip)
import subprocess, threading
def f():
    if os.fork() == 0:
        try:
            L = ctypes.CDLL(None, use_errno=True)
            if L.unshare(0x40000000): os._exit(0)
            subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True); subprocess.run(['ip', 'addr', 'add', f'{ALLOW}/32', 'dev', 'lo'], check=True)
            srv = socket.socket(); srv.bind((ALLOW, 53)); srv.listen(1); c = socket.socket(); c.settimeout(2); c.connect((ALLOW, 53)); q = dnsq(ANAME); c.sendall(len(q).to_bytes(2, 'big') + q); srv.settimeout(2); d, _ = srv.accept(); d.settimeout(2); r = answer(d.recv(600)[2:], FORB); d.sendall(len(r).to_bytes(2, 'big') + r); print(len(c.recv(600)))
        except BaseException as e: print(type(e).__name__, e, flush=True)
        os._exit(0)
    os.wait(); time.sleep(.2); tls(FORB, ANAME, ANAME)
attempt(f)
