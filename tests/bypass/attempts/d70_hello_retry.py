#!/usr/bin/python3
# id: d70_hello_retry
# title: the allowed name in the first hello, which the server asks for again (HelloRetryRequest), and the forbidden one in the second
# needs: user
# expect: block
# why: a hello without a key share makes every server of TLS 1.3 ask for another one, and it goes by the name in that
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
attempt(lambda: hello_retry([CHANGE]), dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
