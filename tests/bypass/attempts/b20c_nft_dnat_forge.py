#!/usr/bin/python3
# id: b20c_nft_dnat_forge
# title: DNAT of the resolver to a server of the workload, which answers with the forbidden address
# needs: root
# expect: block
# why: the answer comes from the resolver address as far as the socket sees
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess, threading
def f():
    v = socket.socket(type=socket.SOCK_DGRAM); v.bind((myip(), 5399))
    def serve():
        d, a = v.recvfrom(600); v.sendto(d[:2] + b'\x81\x80\0\1\0\1\0\0\0\0' + d[12:] + b'\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4' + socket.inet_aton(FORB), a)
    threading.Thread(target=serve, daemon=True).start()
    subprocess.run(f'nft add table ip bpnat && nft "add chain ip bpnat o {{ type nat hook output priority -100 ; }}" && nft add rule ip bpnat o ip daddr {ALLOW} udp dport 53 dnat to {myip()}:5399', shell=True, check=True)
    try: ask(dnsq(ANAME), tries=1)
    finally: subprocess.run('nft delete table ip bpnat', shell=True)
    tls(FORB, ANAME, ANAME)
attempt(f)
