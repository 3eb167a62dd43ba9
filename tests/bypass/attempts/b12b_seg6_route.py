#!/usr/bin/python3
# id: b12b_seg6_route
# title: a route that puts packets to the allowed address into segment routing by way of the forbidden one
# needs: root
# expect: block
# why: the route's program acts behind connect
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    mode = 'encap'
    if subprocess.run(f'ip -6 route add {ALLOW6}/128 encap seg6 mode encap segs {FORB6} dev v0', shell=True).returncode: cannot('no seg6')
    try: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(dnsq(f'{TOK}.{ANAME}'), (ALLOW6, 53)); time.sleep(.3)
    finally: subprocess.run(f'ip -6 route del {ALLOW6}/128', shell=True)
attempt(f, chan=('pkt', 'dns'))
