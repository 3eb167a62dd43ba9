#!/usr/bin/python3
# id: d03_sni_ip_literal
# title: the server name is an IP literal
# needs: user
# expect: block
# why: RFC 6066 allows no literal, and it is no name of the policy
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f(): subprocess.run(f'printf "GET /{TOK} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" | timeout 3 openssl s_client -quiet -connect {ALLOW}:443 -servername 10.99.0.2', shell=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
attempt(f, dst=(ALLOW,), chan=('tls',))
