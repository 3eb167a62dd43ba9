#!/usr/bin/python3
# id: d33f_dns_other_question
# title: the answer is for a question that was not asked
# needs: user
# expect: block
# why: id, question and resolver must all match
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
def f():
    ask(dnsq(f'otherquestion-{TOK}.{ANAME}'), tries=1); time.sleep(.2); tls(FORB, ANAME, ANAME)
attempt(f)
