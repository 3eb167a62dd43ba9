#!/usr/bin/python3
# id: b24_macvlan_netns
# title: root puts a macvlan of the link into a network namespace of its own and connects from there
# needs: root
# expect: block
# why: anything keyed on the interface or the namespace is passed
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f():
    n = f'bpm{os.getpid()}'
    try:
        subprocess.run(f'ip netns add {n} && ip link add bpm0 link v0 type macvlan mode bridge && ip link set bpm0 netns {n} && ip -n {n} addr add 10.99.0.77/24 dev bpm0 && ip -n {n} link set bpm0 up', shell=True, check=True); time.sleep(.3)
        subprocess.run(['ip', 'netns', 'exec', n, HERE + '/../build/conn', FORB, '8000', TOK], timeout=6)
    finally: subprocess.run(f'ip netns del {n}', shell=True)
attempt(f)
