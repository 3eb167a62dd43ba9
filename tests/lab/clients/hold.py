"""hold.py KIND HOST PORT: connects (KIND is tcp, tcp-mapped or udp), prints "ready", and waits until
standard input ends. Then it sends one byte and waits for an answer. Prints one line of JSON with
what both gave and how long the second took, in seconds."""

import json
import socket
import sys
import time


def outcome(call):
    try:
        call()
        return "ok"
    except OSError as error:
        return f"{type(error).__name__} {error.errno}"


def main():
    kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if kind == "tcp-mapped":
        host = "::ffff:" + host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as sock:
        sock.connect((host, port))
        sock.settimeout(None)
        print("ready", flush=True)
        sys.stdin.read()
        sent = outcome(lambda: sock.send(b"x"))
        began = time.monotonic()
        received = outcome(lambda: sock.recv(1))
        took = time.monotonic() - began
    print(json.dumps({"sent": sent, "received": received, "seconds": took}), flush=True)


main()
