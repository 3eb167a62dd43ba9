#!/usr/bin/env python3
"""Checks a proof that `governd audit prove` wrote. It needs Python and openssl, and nothing of governd.

usage: check-proof.py PROOF KEY [ROTATIONS]      KEY is the text of the host's key.pub, or that file.
ROTATIONS is the file `rotations` beside the log, where the key was replaced since it was noted.
Prints the record and exits with 0 if KEY's log holds it, else says why and exits with 1.
"""
import base64, hashlib, json, os, subprocess, sys, tempfile

def sha256(data):
    return hashlib.sha256(data).digest()

def signature_is_good(key, text, signature):
    prefix = bytes.fromhex("302a300506032b6570032100")  # RFC 8410: an Ed25519 public key in DER
    with tempfile.TemporaryDirectory() as place:
        names = [os.path.join(place, name) for name in ("key", "text", "signature")]
        for name, content in zip(names, (prefix + key, text, signature)):
            open(name, "wb").write(content)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin"]
        command += ["-inkey", names[0], "-in", names[1], "-sigfile", names[2]]
        return subprocess.run(command, capture_output=True).returncode == 0

def check(proof, keys):
    """Keys are those of the log and the number of records from which on each signs, the first first."""
    head, text, signatures = proof.split("\n\n")  # the proof, the checkpoint, who signed it
    mark, extra, index, *path = head.split("\n")
    assert mark == "c2sp.org/tlog-proof@v1", "this is no C2SP tlog-proof"
    record, index = base64.b64decode(extra.removeprefix("extra ")), int(index.removeprefix("index "))
    origin, size, root = (text + "\n").split("\n")[:3]
    name, key_id, key = [key for behind, key in keys if int(size) > behind][-1].strip().split("+", 2)
    assert origin == name and 0 <= index < int(size), "the checkpoint is not about this record"
    key, blobs = base64.b64decode(key)[1:], [line.split(" ")[2] for line in signatures.split("\n")[:-1]]
    blobs = [blob for blob in map(base64.b64decode, blobs) if blob[:4].hex() == key_id]
    good = [signature_is_good(key, (text + "\n").encode(), blob[4:]) for blob in blobs]
    assert any(good), "the checkpoint is not signed by this key"
    node, at, last = sha256(b"\0" + record), index, int(size) - 1  # RFC 9162 section 2.1.3.2
    for hash in map(base64.b64decode, path):
        assert last > 0, "the path is too long"
        if at & 1 or at == last:
            node = sha256(b"\1" + hash + node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = sha256(b"\1" + node + hash)
        at, last = at >> 1, last >> 1
    assert last == 0 and node == base64.b64decode(root), "the path does not lead to the signed root"
    return record

def follow(known, rotations):
    """Every key of the log; each record that names one is proven by the key before it."""
    keys, mark = [(0, known)], "c2sp.org/tlog-proof@v1\n"
    for at, proof in enumerate(mark + part for part in rotations.split(mark)[1:]):
        _, extra, index, *_ = proof.split("\n")
        record = json.loads(base64.b64decode(extra.removeprefix("extra ")))
        said, index = record["unmapped"]["governd"]["rotation"], int(index.removeprefix("index "))
        keys = keys if at else [(0, said["from"])]
        text = f"governd.dev/key-rotation@v1\n{index}\n{said['from']}\n{said['to']}\n"
        name, _, to = said["to"].split("+", 2)
        agreed = signature_is_good(base64.b64decode(to)[1:], text.encode(), base64.b64decode(said["agreement"]))
        assert agreed and said["from"] == keys[-1][1], "a key does not follow the one before it"
        assert name == known.split("+")[0] and f"\n\n{name}\n{index + 1}\n" in proof, "it is of another log"
        check(proof, keys)
        keys.append((index + 1, said["to"]))
    assert known in [key for _, key in keys], "the key is none of those that signed this log"
    return keys

if __name__ == "__main__":
    if len(sys.argv) < 3:
        print(__doc__.strip(), file=sys.stderr)
        sys.exit(2)
    proof, key, *rotations = sys.argv[1:]
    try:
        key = (open(key).read() if os.path.exists(key) else key).strip()
        keys = follow(key, "".join(open(name, encoding="utf-8").read() for name in rotations))
        print(check(open(proof, encoding="utf-8").read(), keys).decode())
    except (AssertionError, ValueError, IndexError, KeyError, OSError) as error:
        sys.exit(f"not proven: {error}")
