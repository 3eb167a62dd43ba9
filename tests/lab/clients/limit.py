"""Ends a loop device behind so many bytes, or (0) where its file ends: what is beyond cannot be read
or written any more, as on a disk that fails.

usage: limit.py DEVICE BYTES
"""

import fcntl
import struct
import sys

LOOP_SET_STATUS64, LOOP_GET_STATUS64 = 0x4C04, 0x4C05
# struct loop_info64 of linux/loop.h.
INFO_BYTES, SIZE_LIMIT_AT = 232, 32

device, limit = sys.argv[1:]
with open(device, "r+b", buffering=0) as file:
    info = bytearray(INFO_BYTES)
    fcntl.ioctl(file, LOOP_GET_STATUS64, info)
    struct.pack_into("=Q", info, SIZE_LIMIT_AT, int(limit))
    fcntl.ioctl(file, LOOP_SET_STATUS64, info)
