#!/usr/bin/python3
# id: c02d_scm_raw
# title: a raw socket that root made, received over SCM_RIGHTS
# needs: user
# expect: block
# why: the workload could not have made it
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    foreign('raw').sendto(ip4(myip(), FORB, 17, udp4(myip(), FORB, 4444, P_UDP, TOK.encode())), (FORB, 0))
attempt(f)
