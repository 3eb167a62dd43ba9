#!/usr/bin/python3
# id: d01_forbidden_name_and_address
# title: TLS with the forbidden name to the forbidden address
# needs: user
# expect: block
# why: the plain case of group d
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    tls(FORB, FNAME, FNAME)
attempt(f)
