#!/usr/bin/python3
# id: b30c_docker_resolver_tcp
# title: control: an allowed name asked of a container engine's resolver over TCP, whose port is translated
# needs: root
# expect: control
# why: as b30; TCP is read in the order of the stream
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    n = f'{TOK}.{ANAME}'
    subprocess.run('nft add table ip bpd && nft "add chain ip bpd o { type nat hook output priority -100 ; }" && nft add rule ip bpd o ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:5311', shell=True, check=True)
    try: ask_tcp(dnsq(n), server='127.0.0.11') or broken('no answer'); tls(ALLOW, n, n)
    finally: subprocess.run('nft delete table ip bpd', shell=True)
attempt(f, dst=(ALLOW,), chan=('sni', 'tls'))
