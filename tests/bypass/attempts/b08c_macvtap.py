#!/usr/bin/python3
# id: b08c_macvtap
# title: a frame written to the character device of a macvtap interface
# needs: root
# expect: block
# why: its device number is no fixed one, and the frame belongs to a socket without an address family
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess, tempfile
def f():
    n = f'bpt{os.getpid() % 99999}'; d = tempfile.mkdtemp(prefix='bptap')
    if subprocess.run(f'ip link add link v0 name {n} type macvtap mode bridge && ip link set {n} up', shell=True).returncode: cannot('no macvtap')
    try:
        # sysfs shows the interfaces of the namespace that it is mounted in.
        dev = subprocess.run(['unshare', '-m', 'sh', '-c', f'mount -t sysfs s {d} && cat {d}/class/net/{n}/macvtap/tap*/dev'], stdout=subprocess.PIPE, check=True).stdout.decode()
        node = d + '/tap'; os.mknod(node, 0o020600, os.makedev(*map(int, dev.split(':')))); t = os.open(node, os.O_RDWR); os.unlink(node)
        for _ in range(3): os.write(t, b'\0' * 10 + b'\xff' * 6 + b'\x02\0\0\0\0\x01\x08\0' + ip4(myip(), FORB, 17, udp4(myip(), FORB, 5555, P_UDP, TOK.encode()))); time.sleep(.3)
    finally: subprocess.run(f'ip link del {n}', shell=True); os.rmdir(d)
attempt(f, chan=('udp', 'pkt'))
