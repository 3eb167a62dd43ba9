#!/usr/bin/python3
# id: a34_nat64
# title: the forbidden IPv4 address inside an IPv6 one, which a translator takes out (64:ff9b::/96, RFC 6052)
# needs: root
# expect: block
# why: the address that is connected to is another one than the one that is reached
import sys, os; sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bp import *
import subprocess
NAT = '64:ff9b::10.99.0.66'
def f():
    # The far end stands for the translator and for the host behind it.
    subprocess.run(['nsenter', '--net=' + E('BP_FAR'), 'ip', '-6', 'addr', 'replace', NAT + '/128', 'dev', 'lo'], check=True)
    subprocess.run(['ip', '-6', 'route', 'replace', '64:ff9b::/96', 'via', ALLOW6], check=True)
    for c in (socket.socket(socket.AF_INET6), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)):
        try: c.settimeout(2); c.connect((NAT, P_TCP if c.type == socket.SOCK_STREAM else P_UDP)); c.sendall(TOK.encode()); time.sleep(.2)
        except OSError as e: print(e)
attempt(f, dst=(socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, NAT)),))
