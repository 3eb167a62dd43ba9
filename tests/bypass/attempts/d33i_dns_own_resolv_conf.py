#!/usr/bin/python3
# id: d33i_dns_own_resolv_conf
# title: root of a container writes its own resolv.conf, which names a resolver of its own
# needs: root
# expect: block
# why: only the resolvers of the host are believed
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    if ctypes.CDLL(None).unshare(0x20000): broken('no mount namespace')
    import subprocess
    with open(f'{RUN}/resolv.conf', 'w') as r: r.write(f'nameserver {FORB}\n')
    subprocess.run(f'mount --make-rprivate / && mount --bind {RUN}/resolv.conf /etc/resolv.conf', shell=True, check=True)
    for name in (f'{TOK}.{ANAME}', f'{TOK}.{FNAME}'):
        try: print(socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)[0])
        except OSError as e: print(e)
attempt(f, dst=(FORB,), chan=('dns',))
