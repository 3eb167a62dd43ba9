"""A bad network between this network namespace and another: a tun device in each, and what one of
them sends goes to the other late, twice, in another order, or not at all.

usage: weather.py DEVICE NAMESPACE FAR_DEVICE SEED

Says "ready" when both devices are there, and tells each cut. It turns fair at SIGUSR1, and when its
standard input ends it says what it did, and ends.
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import signal
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
PACKET_BYTES_MAX = 65_536
# Shares of all packets.
LOST, TWICE, LATE = 0.005, 0.05, 0.05
LATE_S = (0.001, 0.03)
# From one cut of everything to the next, and how long it lasts.
FAIR_S, CUT_S = (1.0, 3.0), (0.05, 1.0)
# A connection is forgotten so often, as by a firewall that was restarted: from then on nothing of
# it comes through.
FORGET_S = (6.0, 10.0)


def open_tun(name):
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return tun


def enter(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    with open(namespace) as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def ports(packet):
    """The ports of a TCP segment in IPv4, whichever way it goes; else None."""
    if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != 6:
        return None
    start = (packet[0] & 15) * 4
    return frozenset(struct.unpack_from("!HH", packet, start))


def main():
    near_name, namespace, far_name, seed = sys.argv[1:]
    dice = random.Random(int(seed))
    near = open_tun(near_name)
    enter(namespace)
    far = open_tun(far_name)
    other = {near: far, far: near}
    print("ready", flush=True)
    did = dict.fromkeys(("passed", "twice", "late", "lost", "cut", "cuts", "forgotten"), 0)
    waiting, number = [], 0
    fair, last, forgotten = [], None, set()
    signal.signal(signal.SIGUSR1, lambda *_: fair.append(True))
    now = time.monotonic()
    cut_from = now + dice.uniform(*FAIR_S)
    cut_to = cut_from + dice.uniform(*CUT_S)
    forget_at = 0
    while True:
        pause = max(0, waiting[0][0] - time.monotonic()) if waiting else 0.5
        ready, _, _ = select.select([near, far, sys.stdin], [], [], pause)
        now = time.monotonic()
        if sys.stdin in ready:
            break
        if now >= cut_to and not fair:
            did["cuts"] += 1
            print("cuts", did["cuts"], flush=True)
            cut_from = now + dice.uniform(*FAIR_S)
            cut_to = cut_from + dice.uniform(*CUT_S)
        if last is not None and now >= forget_at and not fair:
            forgotten.add(last)
            last = None
            did["forgotten"] += 1
            print("forgotten", did["forgotten"], flush=True)
        for tun in ready:
            if tun is sys.stdin:
                continue
            try:
                packet = os.read(tun, PACKET_BYTES_MAX)
            except BlockingIOError:
                continue
            pair = ports(packet)
            if pair in forgotten:
                did["cut"] += 1
                continue
            if last is None and pair is not None:
                last, forget_at = pair, now + dice.uniform(*FORGET_S)
            times = [now]
            if not fair:
                if cut_from <= now < cut_to:
                    did["cut"] += 1
                    continue
                if dice.random() < LOST:
                    did["lost"] += 1
                    continue
                if dice.random() < LATE:
                    did["late"] += 1
                    times = [now + dice.uniform(*LATE_S)]
                if dice.random() < TWICE:
                    did["twice"] += 1
                    times.append(now + dice.uniform(*LATE_S))
            for when in times:
                number += 1
                heapq.heappush(waiting, (when, number, other[tun], packet))
        while waiting and waiting[0][0] <= now:
            _, _, tun, packet = heapq.heappop(waiting)
            try:
                os.write(tun, packet)
                did["passed"] += 1
            except OSError:
                # The queue is full, or the device is not up yet.
                did["lost"] += 1
    print(*(f"{what} {count}" for what, count in did.items()))


main()
