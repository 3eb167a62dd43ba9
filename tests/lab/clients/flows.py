"""flows.py KIND HOST PORT [TRIES]: opens a flow without a library in between.

KIND is tcp, tcp-mapped (an IPv6 socket to ::ffff:a.b.c.d), tcp-nonblocking, udp-send (sendto on
an unconnected socket), udp-mapped, udp-connect (connect, send) or udp-elsewhere (connected to
HOST's resolver-free self, then sendto another: HOST is FIRST,SECOND). HOST may be a name or an
address. Prints one line of JSON with the best of TRIES.
"""

import json
import os
import socket
import sys
import time

LIMIT = 3.0
PAYLOAD = b"hello"


def endpoint(host, port, family=socket.AF_UNSPEC):
    return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0]


def mapped(host, port):
    address = endpoint(host, port, socket.AF_INET)[4][0]
    return (f"::ffff:{address}", port)


def echo(sock):
    sock.settimeout(LIMIT)
    return sock.recv(64) == PAYLOAD


def tcp(host, port, clock):
    family, _, _, _, address = endpoint(host, port)
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(LIMIT)
        with clock:
            sock.connect(address)
        return True


def tcp_mapped(host, port, clock):
    address = mapped(host, port)
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.settimeout(LIMIT)
        with clock:
            sock.connect(address)
        return True


def tcp_nonblocking(host, port, clock):
    family, _, _, _, address = endpoint(host, port)
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        with clock:
            code = sock.connect_ex(address)
            if code not in (0, 115):
                raise OSError(code, os.strerror(code))
        sock.settimeout(LIMIT)
        sock.sendall(PAYLOAD)
        return echo(sock)


def udp_send(host, port, clock):
    family, _, _, _, address = endpoint(host, port)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        with clock:
            sock.sendto(PAYLOAD, address)
        return echo(sock)


def udp_mapped(host, port, clock):
    address = mapped(host, port)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        with clock:
            sock.sendto(PAYLOAD, address)
        return echo(sock)


def udp_connect(host, port, clock):
    family, _, _, _, address = endpoint(host, port)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        with clock:
            sock.connect(address)
        sock.send(PAYLOAD)
        return echo(sock)


def udp_elsewhere(hosts, port, clock):
    first, second = hosts.split(",")
    family, _, _, _, address = endpoint(first, port)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        other = endpoint(second, port, family)[4]
        with clock:
            sock.sendto(PAYLOAD, other)
        return True


class Clock:
    def __enter__(self):
        self.began = time.perf_counter_ns()

    def __exit__(self, *_):
        self.microseconds = (time.perf_counter_ns() - self.began) / 1000


def main():
    kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    tries = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    flow = globals()[kind.replace("-", "_")]
    errors, times, reached = [], [], 0
    for _ in range(tries):
        clock = Clock()
        try:
            reached += bool(flow(host, port, clock))
        except OSError as error:
            errors.append(type(error).__name__ + f" {error.errno}")
        if hasattr(clock, "microseconds"):
            times.append(clock.microseconds)
    print(
        json.dumps(
            {
                "pid": os.getpid(),
                "reached": reached,
                "errors": errors,
                "microseconds": min(times) if times else None,
            }
        )
    )


main()
