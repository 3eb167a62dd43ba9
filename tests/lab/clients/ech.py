"""ech.py HOST: begins a connection with a TLS hello that carries an encrypted one (RFC 9849), as a
client does that does not want its real destination read. Prints one line of JSON when the server
has answered."""

import json
import os
import socket
import ssl
import struct
import sys

RECORD_HEADER = 5
HANDSHAKE_HEADER = 4
# Version and random.
FIXED = 34
ENCRYPTED_CLIENT_HELLO = 0xFE0D


def hello(name):
    """The hello that Python's own library makes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def with_encrypted(hello):
    """Puts the extension behind those that are there, and the lengths right."""
    body = hello[RECORD_HEADER + HANDSHAKE_HEADER :]
    at = FIXED
    at += 1 + body[at]
    at += 2 + struct.unpack_from("!H", body, at)[0]
    at += 1 + body[at]
    extensions = body[at + 2 :]
    # An outer hello: HKDF-SHA256, AES-128-GCM, a configuration's number, a key share, ciphertext.
    data = struct.pack("!BHHBH", 0, 1, 1, 7, 32) + os.urandom(32)
    data += struct.pack("!H", 176) + os.urandom(176)
    extensions += struct.pack("!HH", ENCRYPTED_CLIENT_HELLO, len(data)) + data
    body = body[:at] + struct.pack("!H", len(extensions)) + extensions
    handshake = b"\x01" + struct.pack("!I", len(body))[1:] + body
    return b"\x16\x03\x01" + struct.pack("!H", len(handshake)) + handshake


with socket.create_connection((sys.argv[1], 443), timeout=10) as sock:
    sock.sendall(with_encrypted(hello(sys.argv[1])))
    answer = sock.recv(5)
# A server that does not know the extension goes on with a handshake of its own.
print(json.dumps({"pid": os.getpid(), "record": answer[0] if answer else None}))
