#!/usr/bin/python3
# id: d33d_dns_forge_user_namespace
# title: in a user and network namespace of its own the workload owns the resolver's address and answers itself
# needs: user
# expect: block
# why: the address of the resolver means nothing in a namespace that anybody can make
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *

def answer(q, ip): return q[:2] + b'\x81\x80\0\1\0\1\0\0\0\0' + q[12:] + b'\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4' + socket.inet_aton(ip)
import subprocess
def f():
    if os.fork() == 0:
        try:
            L = ctypes.CDLL(None, use_errno=True)
            if L.unshare(0x10000000 | 0x40000000): print('unshare', ctypes.get_errno()); os._exit(0)
            open('/proc/self/setgroups', 'w').write('deny'); open('/proc/self/uid_map', 'w').write(f'0 {E("BP_UID", "65534")} 1')
            subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True); subprocess.run(['ip', 'addr', 'add', f'{ALLOW}/32', 'dev', 'lo'], check=True)
            srv = socket.socket(type=socket.SOCK_DGRAM); srv.bind((ALLOW, 53)); c = socket.socket(type=socket.SOCK_DGRAM); c.connect((ALLOW, 53)); c.send(dnsq(ANAME)); srv.settimeout(2); d, a = srv.recvfrom(600); srv.sendto(answer(d, FORB), a); c.settimeout(2); print(len(c.recv(600)))
        except BaseException as e: print(type(e).__name__, e, flush=True)
        os._exit(0)
    os.wait(); time.sleep(.2); tls(FORB, ANAME, ANAME)
attempt(f)
