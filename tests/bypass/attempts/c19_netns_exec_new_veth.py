#!/usr/bin/python3
# id: c19_netns_exec_new_veth
# title: root makes a new netns with a veth into the server namespace and connects from there
# needs: root
# expect: block
# why: cgroup hooks still apply; anything keyed on the initial netns, on interface index or on tc filters of known interfaces is bypassed
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import struct, subprocess, threading, ctypes
def f():
    try:
        far = os.path.basename(E('BP_FAR', 'bps')); own = far + 'x'
        subprocess.run('ip netns add bpx; ip -n bpx link add x0 type veth peer name x0 netns bps; ip -n bpx addr add 10.95.0.1/24 dev x0; ip -n bps addr add 10.95.0.66/24 dev x0; ip -n bpx link set x0 up; ip -n bps link set x0 up; ip -n bpx route add 10.99.0.66 via 10.95.0.66'.replace('bpx', own).replace('bps', far), shell=True); time.sleep(.5)
        subprocess.run(['ip','netns','exec', own, HERE + '/../build/conn', FORB, '8000', TOK], timeout=6, stderr=subprocess.DEVNULL)
    finally: subprocess.run(['ip', 'netns', 'del', own])
attempt(f)
