#!/usr/bin/python3
# id: b30_docker_resolver
# title: control: an allowed name asked of a container engine's resolver, whose port is translated
# needs: root
# expect: control
# why: the answer comes from the address that was asked, and teaches as any other
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    n = f'{TOK}.{ANAME}'
    subprocess.run('nft add table ip bpd && nft "add chain ip bpd o { type nat hook output priority -100 ; }" && nft add rule ip bpd o ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:5311', shell=True, check=True)
    try: ask(dnsq(n), '127.0.0.11') or broken('no answer'); tls(ALLOW, n, n)
    finally: subprocess.run('nft delete table ip bpd', shell=True)
attempt(f, dst=(ALLOW,), chan=('sni', 'tls'))
