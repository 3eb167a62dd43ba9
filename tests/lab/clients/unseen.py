"""unseen.py [PID PID]: opens a packet socket, a vsock socket and a tun device, writes into the memory
of one process that is not its own and traces another for a moment, if it is given them, prints
what it got, and holds what it can until standard input ends. A forked child holds them too. At the end it sends a frame and prints what that gave."""

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
PTRACE_ATTACH = 16
PTRACE_DETACH = 17


def tun():
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"labtun", IFF_TUN_NO_PI))
    return device


def write(pid):
    """Writes what stands at the end of the process's stack over itself."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        stack = next(line for line in maps if line.rstrip().endswith("[stack]"))
    at = int(stack.split()[0].split("-")[1], 16) - 8
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(at)
        before = memory.read(8)
        memory.seek(at)
        return memory.write(before)


def trace(pid):
    """Begins to trace the process, and ends it at once."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if ptrace(PTRACE_ATTACH, pid, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(pid, 0)
    return ptrace(PTRACE_DETACH, pid, None, None)


def main():
    held = {}
    kinds = {
        "packet-socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0),
        "vsock-socket": lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM),
        "tun-device": tun,
    }
    if len(sys.argv) > 2:
        kinds["foreign-memory"] = lambda: write(sys.argv[1])
        kinds["traced-process"] = lambda: trace(int(sys.argv[2]))
    for kind, make in kinds.items():
        try:
            held[kind] = make()
        except OSError:
            pass
    child = os.fork()
    if child != 0:
        print(json.dumps({"pid": os.getpid(), "held": list(held)}), flush=True)
    sys.stdin.read()
    if child != 0:
        print(json.dumps({"sent": sent(held["packet-socket"])}), flush=True)


def sent(packets):
    try:
        return packets.sendto(b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + bytes(46), ("lab0", 0))
    except OSError as error:
        return f"{type(error).__name__} {error.errno}"


main()
