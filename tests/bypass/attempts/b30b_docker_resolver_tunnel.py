#!/usr/bin/python3
# id: b30b_docker_resolver_tunnel
# title: a forbidden name asked of a container engine's resolver, whose port is translated
# needs: root
# expect: block
# why: the packet goes to no port that is known for DNS
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    subprocess.run('nft add table ip bpd && nft "add chain ip bpd o { type nat hook output priority -100 ; }" && nft add rule ip bpd o ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:5311', shell=True, check=True)
    try: ask(dnsq(f'{TOK}.tst.{FNAME}'), '127.0.0.11', tries=1)
    finally: subprocess.run('nft delete table ip bpd', shell=True)
attempt(f, dst=(ALLOW,), chan=('dns',))
