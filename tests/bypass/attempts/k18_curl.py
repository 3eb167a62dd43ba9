#!/usr/bin/python3
# id: k18_curl
# title: control: curl, which resolves the name by itself
# needs: user
# expect: control
# why: must pass
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
def f(): subprocess.run(['curl', '-sk', '-m', '5', '--resolve', f'{ANAME}:443:{ALLOW}', f'https://{ANAME}/{TOK}'], stdout=subprocess.DEVNULL, timeout=8)
attempt(f, dst=(ALLOW, ALLOW6), chan=('sni', 'tls'))
