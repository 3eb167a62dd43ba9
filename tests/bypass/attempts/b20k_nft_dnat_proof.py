#!/usr/bin/python3
# id: b20k_nft_dnat_proof
# title: DNAT from a network that is allowed as such to a web server whose name has to be proved; TLS with the forbidden name
# needs: root
# expect: block
# why: what is to be proved is known from where the socket is connected to
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    subprocess.run(f'nft add table ip bpnat && nft "add chain ip bpnat o {{ type nat hook output priority -100 ; }}" && nft add rule ip bpnat o ip daddr 10.95.0.1 tcp dport 7 dnat to {ALLOW}:443', shell=True, check=True)
    s = socket.socket(); s.settimeout(5); s.setsockopt(6, 1, 1)
    try: s.connect(('10.95.0.1', 7)); tls(ALLOW, f'{TOK}.{FNAME}', FNAME, s=s)
    finally: subprocess.run('nft delete table ip bpnat', shell=True)
resolve(); attempt(f, dst=(ALLOW,), chan=('sni', 'tls'))
