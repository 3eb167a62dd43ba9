#!/usr/bin/env python3
"""Checks a whole log of governd. It needs Python and openssl, and nothing of governd.

usage: check-log.py [--mirror DIRECTORY] [--rotations FILE] [--first N] PLACE KEY [RECEIPT]

PLACE is a log, such as /var/lib/governd/log, a file that `governd audit export` wrote, or the URL of a log that
`governd sink publish` wrote (C2SP tlog-tiles);
KEY the text of the host's key.pub, or that file; RECEIPT a file that `governd sink receipt` wrote. Every root is
computed from the records and compared with every checkpoint, and every signature is checked. Where the key was
replaced, the file `rotations` of the log or beside the published checkpoint leads from any of its keys to the others;
of an extract it has to be named. With --mirror what is
read from a URL is kept, and what was kept before must be its beginning. Where the sink deleted records before it
published them, the file `first` there says from which one on they are there; with --first N those before are taken by
their hashes alone, which the roots still have to be those of. Prints how far the log is signed and exits
with 0, or says what is wrong and exits with 1.
"""
import base64, hashlib, json, os, struct, subprocess, sys, tempfile, urllib.error, urllib.request

def sha256(data):
    return hashlib.sha256(data).digest()

class Tree:
    """RFC 6962 section 2.1, by the roots of its complete subtrees."""
    def __init__(self, size=0, peaks=()):
        self.size, self.peaks = size, list(peaks)

    def push(self, line):
        self.add(sha256(b"\0" + line), 1)

    def add(self, node, part):
        """A complete subtree of a size that divides the tree's."""
        size = self.size // part
        while size & 1:
            node, size = sha256(b"\1" + self.peaks.pop() + node), size >> 1
        self.peaks.append(node)
        self.size += part

    def root(self):
        if not self.peaks:
            return sha256(b"")
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = sha256(b"\1" + peak + node)
        return node

class Key:
    def __init__(self, text):
        self.name, self.id, key = text.strip().split("+", 2)
        key = base64.b64decode(key)
        assert sha256(self.name.encode() + b"\n" + key)[:4].hex() == self.id, "the key's id does not fit it"
        self.place = tempfile.TemporaryDirectory()
        self.file = os.path.join(self.place.name, "key")
        with open(self.file, "wb") as file:
            file.write(bytes.fromhex("302a300506032b6570032100") + key[1:])  # RFC 8410: Ed25519 in DER

    def verify(self, text, signature):
        names = [os.path.join(self.place.name, name) for name in ("text", "signature")]
        for name, content in zip(names, (text, signature)):
            with open(name, "wb") as file:
                file.write(content)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin", "-inkey", self.file]
        return subprocess.run(command + ["-in", names[0], "-sigfile", names[1]], capture_output=True).returncode == 0

    def open(self, note):
        """Size and root of a signed checkpoint (C2SP tlog-checkpoint)."""
        text, signatures = note.split("\n\n", 1)
        origin, size, root = (text + "\n").split("\n")[:3]
        assert origin == self.name, "a checkpoint is of another log"
        for line in signatures.splitlines():
            mark, name, blob = line.split(" ")
            blob = base64.b64decode(blob)
            if name == self.name and blob[:4].hex() == self.id and self.verify((text + "\n").encode(), blob[4:]):
                return int(size), base64.b64decode(root)
        raise AssertionError(f"the checkpoint of {size} records is not signed by this key")

class Keys:
    """Every key of a log of which one is known; each is named by a record that the one before it signed."""
    def __init__(self, known, rotations):
        self.name, self.keys, mark = known.strip().split("+")[0], [(0, known.strip())], "c2sp.org/tlog-proof@v1\n"
        self.records = {}
        for at, proof in enumerate(rotations.split(mark)[1:]):
            (extra, index, *path), note = proof.split("\n\n", 1)[0].split("\n"), proof.split("\n\n", 1)[1]
            record, index = base64.b64decode(extra.removeprefix("extra ")), int(index.removeprefix("index "))
            said = json.loads(record)["unmapped"]["governd"]["rotation"]
            self.keys = self.keys if at else [(0, said["from"])]
            assert said["from"] == self.keys[-1][1] and said["to"].split("+")[0] == self.name, "a key does not follow"
            text = f"governd.dev/key-rotation@v1\n{index}\n{said['from']}\n{said['to']}\n".encode()
            assert Key(said["to"]).verify(text, base64.b64decode(said["agreement"])), "a key has not agreed"
            tree = Tree(index, [base64.b64decode(node) for node in reversed(path)])
            assert len(path) == bin(index).count("1"), "the path of a rotation is another"
            tree.push(record)
            assert Key(said["from"]).open(note) == (index + 1, tree.root()), "a rotation is not proven"
            self.keys.append((index + 1, said["to"]))
            self.records[index] = record
        assert known.strip() in [key for _, key in self.keys], "the key is none of those that signed this log"
        self.keys = [(behind, Key(key)) for behind, key in self.keys]

    def open(self, note):
        """A larger checkpoint than that behind the record that replaced a key is the next one's to sign."""
        size = int(note.split("\n")[1])
        return [key for behind, key in self.keys if size > behind or not behind][-1].open(note)

    def see(self, index, line):
        """The records that replace keys are those that these were replaced by."""
        is_one = b'"rotation":{"agreement":' in line
        assert not is_one or self.records.get(index) == line, f"record {index} replaces a key, and its proof is gone"

def notes(text):
    """Signed notes that stand one after the other: each ends with its line of a signature."""
    parts = text.split("\n\n")
    for at in range(len(parts) - 1):
        body = parts[at] if at == 0 else parts[at].split("\n", 1)[1]
        yield body + "\n\n" + parts[at + 1].split("\n", 1)[0] + "\n"

def before(directory, base):
    """The tree before a log's first segment, from the header of its index."""
    with open(os.path.join(directory, f"{base:020}.index"), "rb") as file:
        header = file.read(64 + 64 * 32)
    assert struct.unpack_from("<Q", header, 16)[0] == base, "the index is of another segment"
    return Tree(base, [header[64 + 32 * at:96 + 32 * at] for at in range(bin(base).count("1"))])

def check(directory, key, receipt):
    bases = sorted(int(name[:20]) for name in os.listdir(directory) if name.endswith(".jsonl"))
    tree, count, wanted = before(directory, bases[0]) if bases[0] else Tree(), 0, dict([receipt] if receipt else [])
    for base in bases:
        assert base == tree.size, f"records from {tree.size} on are missing"
        with open(os.path.join(directory, f"{base:020}.jsonl"), "rb") as file:
            lines = file.read().split(b"\n")[:-1]
        with open(os.path.join(directory, f"{base:020}.checkpoints"), encoding="utf-8") as file:
            signed = [key.open(note) for note in notes(file.read())]
        for line in lines:
            key.see(tree.size, line)
            tree.push(line)
            while signed and signed[0][0] == tree.size:
                assert signed.pop(0)[1] == tree.root(), f"the first {tree.size} records are not those that were signed"
                count += 1
            assert wanted.get(tree.size, tree.root()) == tree.root(), "the sink saw other records"
        assert not signed, f"records from {tree.size} on are missing"
    assert not receipt or receipt[0] <= tree.size, f"records from {tree.size} on are missing, the sink saw {receipt[0]}"
    return f"{tree.size} records, {count} checkpoints: as signed"

def check_extract(path, key):
    with open(path, "rb") as file:
        head, body, signature, records = file.read().split(b"\n\n", 3)
    mark, span, *hashes = head.decode().split("\n")
    assert mark == "governd.dev/log-extract@v1", "this is no extract of a log"
    begin, end = (int(number) for number in span.removeprefix("range ").split(" "))
    size, root = key.open(f"{body.decode()}\n\n{signature.decode()}\n")
    assert begin < end <= size, "the checkpoint is not about these records"
    parts = {mark: [base64.b64decode(line.split(" ")[1]) for line in hashes if line.startswith(mark)]
             for mark in ("before ", "behind ")}
    assert len(parts["before "]) == bin(begin).count("1"), "the tree before the records is another"
    tree = Tree(begin, parts["before "])
    for line in records.split(b"\n")[:-1]:
        tree.push(line)
    assert tree.size == end, f"it has {tree.size - begin} records and says {end - begin}"
    for node in parts["behind "]:
        assert tree.size < size, "there is more behind the records than was signed"
        fits = 1 << (size - tree.size).bit_length() - 1
        tree.add(node, min(tree.size & -tree.size, fits))
    assert tree.size == size and tree.root() == root, "the records are not those that were signed"
    return f"records {begin} to {end - 1} of {size}: as signed"

def groups(number):
    text = f"{number % 1000:03}"
    while number >= 1000:
        number //= 1000
        text = f"x{number % 1000:03}/{text}"
    return text

class Published:
    """What is at a URL, or in a mirror of it."""
    def __init__(self, url, mirror):
        self.url, self.mirror = url.rstrip("/"), mirror

    def get(self, path, may_be_kept=False):
        kept = self.mirror and os.path.join(self.mirror, path)
        if may_be_kept and kept and os.path.exists(kept):
            return open(kept, "rb").read()
        with urllib.request.urlopen(f"{self.url}/{path}", timeout=60) as answer:
            content = answer.read()
        if kept:
            os.makedirs(os.path.dirname(kept), exist_ok=True)
            with open(kept, "wb") as file:
                file.write(content)
        return content

    def tile(self, level, number, width):
        if width < 256:
            return self.get(f"tile/{level}/{groups(number)}.p/{width}")
        return self.get(f"tile/{level}/{groups(number)}", True)

def entries(bundle):
    at = 0
    while at < len(bundle):
        size = struct.unpack_from(">H", bundle, at)[0]
        yield bundle[at + 2:at + 2 + size]
        at += 2 + size

def first_of(url):
    """From which record on a published log has them."""
    try:
        return int(Published(url, None).get("first"))
    except urllib.error.URLError:
        return 0

def check_published(url, mirror, key, receipt, first):
    begin = first_of(url)
    assert begin <= first, f"the records before {begin} are not there, only their hashes: name it with --first"
    kept = mirror and os.path.join(mirror, "checkpoint")
    before = key.open(open(kept, encoding="utf-8").read()) if kept and os.path.exists(kept) else None
    place, tree = Published(url, mirror), Tree()
    checkpoint = Published(url, None).get("checkpoint")
    size, root = key.open(checkpoint.decode())
    wanted = dict([known for known in (before, receipt) if known])
    assert all(known <= size for known in wanted), f"records from {size} on are missing"
    level = []
    for number in range(-(-size // 256)):
        width = min(256, size - 256 * number)
        if 256 * number < first:
            hashes = place.tile(0, number, width)
            leaves = [hashes[at:at + 32] for at in range(0, len(hashes), 32)]
        else:
            leaves = []
            for index, record in enumerate(entries(place.tile("entries", number, width)), 256 * number):
                key.see(index, record)
                leaves.append(sha256(b"\0" + record))
            hashes = b"".join(leaves)
        for leaf in leaves:
            tree.add(leaf, 1)
            if tree.size in wanted:
                assert wanted[tree.size] == tree.root(), "others saw other records"
        assert hashes == place.tile(0, number, width), f"tile {number} is not that of its records"
        level += [hashes]
    assert tree.size == size and tree.root() == root, "the records are not those that were signed"
    above = 1
    while len(full := [tile for tile in level if len(tile) == 256 * 32]):
        hashes, level = [tile_root(tile) for tile in full], []
        for number in range(-(-len(hashes) // 256)):
            part = hashes[256 * number:256 * (number + 1)]
            level.append(b"".join(part))
            assert place.tile(above, number, len(part)) == level[-1], f"tile {above}/{number} is not that of those below"
        above += 1
    if kept:
        with open(kept, "wb") as file:
            file.write(checkpoint)
    known = f", of those before {min(-(-first // 256) * 256, size)} the hashes" if first else ""
    return f"{size} records{known}, {above} levels of tiles: as signed"

def tile_root(tile):
    nodes = [tile[at:at + 32] for at in range(0, len(tile), 32)]
    while len(nodes) > 1:
        nodes = [sha256(b"\1" + left + right) for left, right in zip(nodes[::2], nodes[1::2])]
    return nodes[0]

def rotations_of(place, named):
    """What is at the place or in the file that is named; nothing, where the key was never replaced."""
    try:
        if not named and "://" in place:
            return Published(place, None).get("rotations").decode()
        with open(named or os.path.join(place, "rotations"), encoding="utf-8") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, urllib.error.URLError):
        assert not named, f"{named} is not there"
        return ""

if __name__ == "__main__":
    arguments = sys.argv[1:]
    options = {"--mirror": None, "--rotations": None, "--first": "0"}
    while arguments[2:] and arguments[0] in options:
        option, value, *arguments = arguments
        options[option] = value
    mirror, rotations, first = options.values()
    if not first.isdecimal() or len(arguments) not in (2, 3) or arguments[0].startswith("--"):
        print(__doc__.strip(), file=sys.stderr)
        sys.exit(2)
    place, key, *receipt = arguments
    try:
        key = Keys(open(key).read() if os.path.exists(key) else key, rotations_of(place, rotations))
        receipt = key.open(open(receipt[0], encoding="utf-8").read()) if receipt else None
        is_url = "://" in place
        if os.path.isfile(place):
            print(check_extract(place, key))
        else:
            print(check_published(place, mirror, key, receipt, int(first)) if is_url else check(place, key, receipt))
    except (AssertionError, ValueError, IndexError, KeyError, OSError, struct.error, urllib.error.URLError) as error:
        sys.exit(f"not as signed: {error}")
