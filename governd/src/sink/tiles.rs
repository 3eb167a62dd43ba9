//! A host's tree as static files that any client of C2SP tlog-tiles can mirror and audit: tiles of
//! 256 hashes, bundles of 256 records, and the cosigned checkpoint.
//!
//! What is full never changes. Files are put into place whole, and the checkpoint last, when all
//! that it covers is durable; so a server of files needs to know nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::store::{Host, Store, StoreError};
use crate::audit::{
    checkpoint::Opens as _,
    tree::{HASH_BYTES, Hash, root},
};

use super::pack;

/// Hashes of a tile, and records of a bundle.
const WIDTH: u64 = 256;
/// Each level of tiles has the roots of the tiles below: as many bits of an index.
const LEVEL_BITS: u32 = WIDTH.trailing_zeros();
const CHECKPOINT: &str = "checkpoint";
/// How the key that signs the checkpoint came from those before it, as the host keeps it.
const ROTATIONS: &str = "rotations";
/// From which record on all bundles are there, where those before were deleted before they could be
/// published.
const FIRST: &str = "first";
/// The proof of the record by which the sink's own log says so.
const DELETION: &str = "deletion";
const NEW_SUFFIX: &str = "new";

/// Why a tree is not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A file cannot be written, or is not what it was.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store fails, or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The first records of the host are not there, so nobody could compute its tree.
    #[error("the log of {0} is here from record {1} on only")]
    Late(String, u64),
}

/// Brings a host's directory up to its last receipt, and says how many records are published.
///
/// # Errors
/// If files or the store fail; the next call goes on.
pub fn publish(store: &Store, host: &Host, directory: &Path) -> Result<u64, PublishError> {
    let mut host = host.clone();
    loop {
        let published = publish_as_is(store, &host, directory);
        if published.is_ok() {
            return published;
        }
        // What was to be published may have been deleted meanwhile.
        match store.host(host.id)? {
            Some(now) if now.deleted > host.deleted => host = now,
            _ => return published,
        }
    }
}

fn publish_as_is(store: &Store, host: &Host, directory: &Path) -> Result<u64, PublishError> {
    if host.first > 0 {
        return Err(PublishError::Late(host.name.clone(), host.first));
    }
    let directory = directory.join(file_name(&host.name));
    let place = Place { directory };
    let Some((receipt, signed)) =
        host.receipt.as_ref().and_then(|receipt| Some((receipt, host.keys.open(receipt).ok()?)))
    else {
        return Ok(0);
    };
    let path = place.directory.join(CHECKPOINT);
    let before = match fs::read_to_string(&path) {
        // One that is not this host's says nothing of what is there.
        Ok(text) => host.keys.open(&text).map_or(0, |checkpoint| checkpoint.size),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(source) => return Err(PublishError::File { path, source }),
    };
    if before >= signed.size {
        return Ok(before);
    }
    place.write_records(store, host, before, signed.size)?;
    place.write_levels(before, signed.size)?;
    if host.deleted > before {
        let first = host.deleted.next_multiple_of(WIDTH).min(signed.size);
        place.write(FIRST, format!("{first}\n").as_bytes())?;
        place.write(DELETION, store.deletion(host)?.unwrap_or_default().as_bytes())?;
    }
    place.sync()?;
    let rotations = host.keys.to_string();
    if !rotations.is_empty() {
        place.write(ROTATIONS, rotations.as_bytes())?;
        place.sync()?;
    }
    place.write(CHECKPOINT, receipt.as_bytes())?;
    place.sync()?;
    place.clean(before, signed.size)?;
    Ok(signed.size)
}

/// A host's directory.
struct Place {
    directory: PathBuf,
}

impl Place {
    /// The tiles of leaf hashes, and the bundles of records beside them.
    fn write_records(
        &self,
        store: &Store,
        host: &Host,
        before: u64,
        size: u64,
    ) -> Result<(), PublishError> {
        let mut next = before / WIDTH * WIDTH;
        let (mut hashes, mut bundle) = (Vec::new(), Vec::new());
        // Bundles of which a record was deleted are not written, but for the one that is there.
        let (mut from, mut first) = (host.deleted, host.deleted.next_multiple_of(WIDTH));
        if (next + 1..=before).contains(&host.deleted)
            && let Some(published) = self.last_bundle(before)?
        {
            (bundle, from, first) = (published, before, next);
        }
        while next < size {
            let stored = store.batch(host, next)?;
            let damaged = || StoreError::Damaged(host.name.clone());
            let stored = stored.ok_or_else(damaged)?;
            let text = pack::decompress(&stored.frame).map_err(|_| damaged())?;
            let mut lines = pack::each(&text);
            let skip = usize::try_from(next - stored.first).unwrap_or(usize::MAX);
            let begin = next;
            for (position, leaf) in stored.leaves.iter().enumerate() {
                let line = lines.next();
                if position < skip {
                    continue;
                }
                if next == size {
                    break;
                }
                if next >= from {
                    let line = line.ok_or_else(damaged)?;
                    // The length of a record fits: none has more than 32 KiB.
                    let length = u16::try_from(line.len()).map_err(|_| damaged())?;
                    bundle.extend_from_slice(&length.to_be_bytes());
                    bundle.extend_from_slice(line.as_bytes());
                }
                hashes.push(*leaf);
                next += 1;
                if next.is_multiple_of(WIDTH) || next == size {
                    let number = (next - 1) / WIDTH;
                    self.write(&path("0", number, hashes.len()), hashes.as_flattened())?;
                    if number * WIDTH >= first {
                        self.write(&path("entries", number, hashes.len()), &bundle)?;
                    }
                    hashes.clear();
                    bundle.clear();
                }
            }
            if next == begin {
                return Err(damaged().into());
            }
        }
        Ok(())
    }

    /// The last bundle of so many records, which is not full and has what the store may not have
    /// any more; none, where it was not written.
    fn last_bundle(&self, size: u64) -> Result<Option<Vec<u8>>, PublishError> {
        let width = usize::try_from(size % WIDTH).unwrap_or_default();
        let path = self.directory.join(path("entries", size / WIDTH, width));
        match fs::read(&path) {
            Ok(bundle) => Ok(Some(bundle)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PublishError::File { path, source }),
        }
    }

    /// The tiles above: of each full tile, its root.
    fn write_levels(&self, before: u64, size: u64) -> Result<(), PublishError> {
        for level in 1..u64::BITS / LEVEL_BITS {
            let shift = level * LEVEL_BITS;
            let (known, count) = (before >> shift, size >> shift);
            if count == 0 {
                break;
            }
            let mut number = known / WIDTH;
            while number * WIDTH < count {
                let end = count.min((number + 1) * WIDTH);
                let below = (number * WIDTH..end).map(|tile| self.root(level - 1, tile));
                let hashes = below.collect::<Result<Vec<Hash>, _>>()?;
                let name = level.to_string();
                self.write(&path(&name, number, hashes.len()), hashes.as_flattened())?;
                number += 1;
            }
        }
        Ok(())
    }

    /// The root of a full tile.
    fn root(&self, level: u32, number: u64) -> Result<Hash, PublishError> {
        let path = self.directory.join(path(&level.to_string(), number, WIDTH as usize));
        let bytes = fs::read(&path);
        let failed = |source| PublishError::File { path: path.clone(), source };
        let bytes = bytes.map_err(failed)?;
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        if hashes.len() as u64 != WIDTH || !rest.is_empty() {
            return Err(failed(io::ErrorKind::InvalidData.into()));
        }
        Ok(root(hashes))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), PublishError> {
        let path = self.directory.join(name);
        let put = || {
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory)?;
            }
            let new = path.with_added_extension(NEW_SUFFIX);
            fs::write(&new, bytes)?;
            fs::rename(&new, &path)
        };
        put().map_err(|source| PublishError::File { path: path.clone(), source })
    }

    /// Makes all that was written durable.
    fn sync(&self) -> Result<(), PublishError> {
        let path = &self.directory;
        let failed = |source| PublishError::File { path: path.clone(), source };
        let directory = fs::File::open(path).map_err(failed)?;
        rustix::fs::syncfs(&directory).map_err(|errno| failed(errno.into()))
    }

    /// Takes away parts of tiles that are full now.
    fn clean(&self, before: u64, size: u64) -> Result<(), PublishError> {
        for level in 0..u64::BITS / LEVEL_BITS {
            let shift = level * LEVEL_BITS;
            let (known, full) = ((before >> shift) / WIDTH, (size >> shift) / WIDTH);
            for number in known..full.min(known + 1) {
                let mut names = vec![level.to_string()];
                names.extend((level == 0).then(|| "entries".to_owned()));
                for name in names {
                    let parts = self.directory.join(parts(&name, number));
                    match fs::remove_dir_all(&parts) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(PublishError::File { path: parts, source: error });
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where a tile or bundle of so many hashes or records is.
fn path(level: &str, number: u64, width: usize) -> String {
    if width as u64 == WIDTH {
        return format!("tile/{level}/{}", groups(number));
    }
    format!("{}/{width}", parts(level, number))
}

/// Where those of the same number that are not full are.
fn parts(level: &str, number: u64) -> String {
    format!("tile/{level}/{}.p", groups(number))
}

/// A number in groups of three digits, all but the last marked: 1234067 is `x001/x234/067`.
fn groups(number: u64) -> String {
    let (mut text, mut rest) = (format!("{:03}", number % 1_000), number / 1_000);
    while rest > 0 {
        text = format!("x{:03}/{text}", rest % 1_000);
        rest /= 1_000;
    }
    text
}

/// A name of a host as the name of a directory.
fn file_name(host: &str) -> String {
    let mut text = String::new();
    for byte in host.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if is_plain || (byte == b'.' && !text.is_empty()) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{
            checkpoint::Signer,
            cosign::{Cosigner, Cosigners},
            tree::Frontier,
        },
        sink::{
            deletion::{
                Deletion,
                tests::{line, own, proof},
            },
            store::Arrival,
        },
    };

    #[test]
    fn paths_are_those_of_tlog_tiles() {
        let rows = [
            ("0", 0, 256, "tile/0/000"),
            ("0", 1_234_067, 256, "tile/0/x001/x234/067"),
            ("1", 1_000, 7, "tile/1/x001/000.p/7"),
            ("entries", 5, 255, "tile/entries/005.p/255"),
        ];
        for (level, number, width, want) in rows {
            assert_eq!(path(level, number, width), want);
        }
        for (host, want) in [("web-1.a", "web-1.a"), ("../x", "%2E.%2Fx"), ("é", "%C3%A9")] {
            assert_eq!(file_name(host), want);
        }
    }

    /// Says what the script finds in a directory of tiles.
    fn audit(directory: &Path, key: &str, mirror: &Path) -> (bool, String) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/audit/check-log.py");
        let mut command = std::process::Command::new("python3");
        command.arg(script).arg("--mirror").arg(mirror);
        command.arg(format!("file://{}", directory.display())).arg(key);
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), text)
    }

    #[test]
    fn another_client_mirrors_what_is_published_and_finds_what_was_changed() {
        let state = tempfile::tempdir().unwrap();
        let mut store = Store::open(state.path()).unwrap();
        let signer = Signer::new("governd/host", [1; 32]).unwrap();
        let cosigners = Cosigner::new("sink.example", [2; 32]).unwrap().into();
        store.add_token("secret", "web-1", 10).unwrap();
        store
            .enroll("secret", &signer.verifier().clone().into(), 1, |_| Ok(((), [7; 32])))
            .unwrap();
        let mut host = store.hosts().unwrap().pop().unwrap();
        let (tiles, mirror) = (state.path().join("tiles"), state.path().join("mirror"));
        let mut tree = Frontier::default();
        let mut append = |count: u64| {
            let first = tree.size();
            let lines: String =
                (first..first + count).map(|index| format!("{{\"n\":{index}}}\n")).collect();
            let leaves = pack::leaves(&lines);
            leaves.iter().for_each(|leaf| tree.push(*leaf));
            let (note, frame) =
                (signer.sign(tree.size(), tree.root()), pack::compress(lines.as_bytes()).unwrap());
            let (lines, frame, note) = (lines.as_str(), frame.as_slice(), note.as_str());
            let arrival =
                Arrival { first, lines, frame, leaves: &leaves, note, before: None, beside: &[] };
            store.begin().unwrap();
            store.append(&mut host, arrival, &cosigners, 5).unwrap();
            store.commit().unwrap();
            publish(&store, &host, &tiles).unwrap()
        };
        let key = signer.verifier().to_string();
        let mut size = 0;
        // Beyond 65,536 records there are tiles of three levels.
        for count in [1, 254, 1, 300, 65_000, 700] {
            size += count;
            assert_eq!(append(count), size);
            let (is_whole, text) = audit(&tiles.join("web-1"), &key, &mirror);
            assert!(is_whole && text.starts_with(&format!("{size} records")), "{size}: {text}");
        }
        assert!(tiles.join("web-1/tile/2/000.p/1").exists());
        assert!(!tiles.join("web-1/tile/0/000.p").exists());
        assert!(mirror.join("tile/entries/257").exists());

        let rows = ["tile/entries/007", "tile/0/007", "tile/1/000", "checkpoint"];
        for name in rows {
            let path = tiles.join("web-1").join(name);
            let before = fs::read(&path).unwrap();
            let mut after = before.clone();
            after[60] ^= 1;
            fs::write(&path, after).unwrap();
            let (is_whole, text) = audit(&tiles.join("web-1"), &key, &state.path().join("other"));
            assert!(!is_whole && text.starts_with("not as signed: "), "{name}: {text}");
            fs::write(&path, before).unwrap();
        }
        for arguments in [&["--help"][..], &[], &["file:///nowhere"], &["--mirror", "a", "b"]] {
            for script in ["check-log.py", "check-proof.py"] {
                let path = format!("{}/../deploy/audit/{script}", env!("CARGO_MANIFEST_DIR"));
                let mut command = std::process::Command::new("python3");
                let asked = command.arg(path).args(arguments).output().unwrap();
                let text = String::from_utf8(asked.stderr).unwrap();
                let is_mistaken = script == "check-proof.py" && arguments.len() > 1;
                assert_eq!(asked.status.code(), Some(if is_mistaken { 1 } else { 2 }), "{text}");
                assert_eq!(text.contains("usage: "), !is_mistaken, "{text}");
                assert!(!text.contains("Traceback"), "{text}");
            }
        }
        let other = Signer::new("governd/host", [9; 32]).unwrap().verifier().to_string();
        assert!(!audit(&tiles.join("web-1"), &other, &mirror).0);
    }

    /// A sink with one host, of which it can delete.
    struct Sink {
        store: Store,
        signer: Signer,
        cosigners: Cosigners,
        tree: Frontier,
    }

    impl Sink {
        fn new(directory: &Path) -> Self {
            let mut store = Store::open(directory).unwrap();
            let signer = Signer::new("governd/host", [1; 32]).unwrap();
            let cosigners = Cosigner::new("sink.example", [2; 32]).unwrap().into();
            store.add_token("secret", "web-1", 10).unwrap();
            let keys = signer.verifier().clone().into();
            store.enroll("secret", &keys, 1, |_| Ok(((), [7; 32]))).unwrap();
            Self { store, signer, cosigners, tree: Frontier::default() }
        }

        fn host(&self) -> Host {
            self.store.hosts().unwrap().pop().unwrap()
        }

        /// The host sends a batch that ends so.
        fn send_until(&mut self, end: u64) {
            let first = self.tree.size();
            let lines: String = (first..end).map(|index| format!("{{\"n\":{index}}}\n")).collect();
            let leaves = pack::leaves(&lines);
            leaves.iter().for_each(|leaf| self.tree.push(*leaf));
            let note = self.signer.sign(end, self.tree.root());
            let frame = pack::compress(lines.as_bytes()).unwrap();
            let (lines, frame, note) = (lines.as_str(), frame.as_slice(), note.as_str());
            let arrival =
                Arrival { first, lines, frame, leaves: &leaves, note, before: None, beside: &[] };
            self.store.append(&mut self.host(), arrival, &self.cosigners, 5).unwrap();
        }

        fn delete_until(&mut self, behind: u64) {
            let host = self.host();
            let deletion = Deletion { host: host.name.clone(), first: 0, behind, days: 200 };
            self.store.begin_deletion(&host, &proof(&line(&deletion), &own())).unwrap();
            while self.store.delete_some(&host).unwrap() {}
            assert_eq!(self.host().deleted, behind);
        }
    }

    #[test]
    fn what_is_deleted_stays_published_and_what_was_not_is_there_by_its_hashes() {
        let state = tempfile::tempdir().unwrap();
        let mut sink = Sink::new(state.path());
        let key = sink.signer.verifier().to_string();
        let check = |directory: &str, first: &[&str]| {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/audit/check-log.py");
            let mut command = std::process::Command::new("python3");
            let place = format!("file://{}", state.path().join(directory).join("web-1").display());
            let output = command.arg(script).args(first).args([&place, &key]).output().unwrap();
            String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
        };
        let put = |sink: &Sink, directory: &str| {
            publish(&sink.store, &sink.host(), &state.path().join(directory)).unwrap()
        };
        for end in [300, 600, 700] {
            sink.send_until(end);
        }
        assert_eq!(put(&sink, "early"), 700);
        // The last bundle has records that are gone now, and gets others.
        sink.delete_until(600);
        sink.send_until(740);
        sink.delete_until(700);
        assert_eq!(put(&sink, "early"), 740);
        sink.send_until(800);
        assert_eq!(put(&sink, "early"), 800);
        let whole = "800 records, 2 levels of tiles: as signed\n";
        assert_eq!(check("early", &[]), whole);
        assert!(!state.path().join("early/web-1/first").exists());

        assert_eq!(put(&sink, "late"), 800);
        let wanted = "not as signed: the records before 768 are not there, only their hashes: \
                      name it with --first\n";
        assert_eq!([check("late", &[]), check("late", &["--first", "767"])], [wanted, wanted]);
        let known = "800 records, of those before 768 the hashes, 2 levels of tiles: as signed\n";
        assert_eq!(check("late", &["--first", "768"]), known);
        let told = fs::read_to_string(state.path().join("late/web-1/deletion")).unwrap();
        assert_eq!(Deletion::proven(&told, own().verifier()).unwrap().behind, 700);
        // All of it is gone, in the middle of a bundle, and more comes.
        sink.delete_until(800);
        assert_eq!(put(&sink, "last"), 800);
        let known = "800 records, of those before 800 the hashes, 2 levels of tiles: as signed\n";
        assert_eq!(check("last", &["--first", "800"]), known);
        sink.send_until(1_100);
        for (directory, first) in [("early", "0"), ("late", "768"), ("last", "800")] {
            assert_eq!(put(&sink, directory), 1_100);
            let text = check(directory, &["--first", first]);
            assert!(text.starts_with("1100 records") && text.ends_with(": as signed\n"), "{text}");
        }
        let path = state.path().join("last/web-1/tile/0/001");
        let mut hashes = fs::read(&path).unwrap();
        hashes[60] ^= 1;
        fs::write(&path, hashes).unwrap();
        let text = check("last", &["--first", "800"]);
        assert!(text.starts_with("not as signed: "), "{text}");
    }
}
