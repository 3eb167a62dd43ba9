"""flood.py LEAST HOST...: connects in a tight loop, to each host in turn, until standard input
ends and at least LEAST connects were made. A breath after every few rounds leaves time to those
who write a record of each. Prints "going" after the first round, and at the end one line of JSON with the
outcomes per host. Connections are reset, not closed, so that no port waits."""

import json
import select
import socket
import struct
import sys
import time

PORT = 9
ROUNDS = 2
BREATH_S = 0.02
RESET = struct.pack("ii", 1, 0)


def main():
    least, hosts = int(sys.argv[1]), sys.argv[2:]
    outcomes = {host: {} for host in hosts}
    made = 0
    going = True
    while going or made < least:
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                try:
                    sock.connect((host, PORT))
                    outcome = "connected"
                except OSError as error:
                    outcome = f"{type(error).__name__} {error.errno}"
            outcomes[host][outcome] = outcomes[host].get(outcome, 0) + 1
        if made == 0:
            print("going", flush=True)
        made += len(hosts)
        if made % (ROUNDS * len(hosts)) == 0:
            time.sleep(BREATH_S)
        if going and select.select([sys.stdin], [], [], 0)[0]:
            going = sys.stdin.readline() != ""
    print(json.dumps({"connects": made, "outcomes": outcomes}), flush=True)


main()
