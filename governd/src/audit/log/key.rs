//! The host's signing key: made at the first start, kept beside the log, readable by its owner.

use std::{io, path::Path};

use ring::rand::{SecureRandom, SystemRandom};

use super::storage::{File, Filesystem, read_up_to, write_all};
use crate::audit::{
    checkpoint::{NoteError, SEED_BYTES, Signer},
    keys::Keys,
    tree::sha256,
};

/// The private key, in signed-note's form.
pub(super) const SECRET_FILE: &str = "key";
/// The public key, in signed-note's form: what a third party needs to verify the log.
pub(super) const PUBLIC_FILE: &str = "key.pub";
/// The private key that replaces the other once a record says so.
pub(super) const NEXT_FILE: &str = "key.next";
/// Proofs of the records by which keys were replaced, one after the other.
pub(super) const ROTATIONS_FILE: &str = "rotations";
const NEW_SUFFIX: &str = ".new";
/// Longest key file that is read, in bytes.
const KEY_FILE_BYTES_MAX: usize = 4_096;
/// Bytes of the public key's hash that name the log.
const NAME_BYTES: usize = 16;

/// Reads the key, or makes one if there is none.
pub(super) fn load<F: Filesystem>(filesystem: &F, directory: &Path) -> io::Result<Signer> {
    let signer = match filesystem.open(&directory.join(SECRET_FILE)) {
        Ok(file) => parse(&file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let signer = generate()?;
            write(filesystem, directory, SECRET_FILE, &signer.secret())?;
            signer
        }
        Err(error) => return Err(error),
    };
    publish(filesystem, directory, &signer)?;
    Ok(signer)
}

/// Puts the public key beside the private one.
fn publish<F: Filesystem>(filesystem: &F, directory: &Path, signer: &Signer) -> io::Result<()> {
    let public = signer.verifier().to_string();
    if read_text(filesystem, &directory.join(PUBLIC_FILE)).ok().as_ref() != Some(&public) {
        write(filesystem, directory, PUBLIC_FILE, &public)?;
    }
    Ok(())
}

/// Makes the key that is to replace another, and keeps it.
pub(super) fn make_next<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    name: &str,
) -> io::Result<Signer> {
    let next = Signer::new(name, seed()?).map_err(invalid)?;
    write(filesystem, directory, NEXT_FILE, &next.secret())?;
    Ok(next)
}

/// The key that was to replace another when the writer ended.
pub(super) fn next<F: Filesystem>(filesystem: &F, directory: &Path) -> io::Result<Option<Signer>> {
    match filesystem.open(&directory.join(NEXT_FILE)) {
        Ok(file) => parse(&file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes that one away: nothing names it.
pub(super) fn forget_next<F: Filesystem>(filesystem: &F, directory: &Path) -> io::Result<()> {
    filesystem.remove(&directory.join(NEXT_FILE))?;
    filesystem.sync_dir(directory)
}

/// Puts it in the place of the one that it replaces, which is gone then. The proof of that comes
/// first: a log is never signed by a key that nothing leads to.
pub(super) fn install<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    keys: &Keys,
    next: &Signer,
) -> io::Result<()> {
    put(filesystem, directory, ROTATIONS_FILE, &keys.to_string())?;
    let secret = directory.join(SECRET_FILE);
    match filesystem.rename(&directory.join(NEXT_FILE), &secret) {
        // An earlier attempt came so far.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let current = parse(&filesystem.open(&secret)?)?;
            if current.verifier() != next.verifier() {
                return Err(error);
            }
        }
        renamed => renamed?,
    }
    filesystem.sync_dir(directory)?;
    publish(filesystem, directory, next)
}

fn invalid(error: NoteError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn seed() -> io::Result<[u8; SEED_BYTES]> {
    let mut seed = [0; SEED_BYTES];
    let failed = |_| io::Error::other("the system gives no randomness");
    SystemRandom::new().fill(&mut seed).map_err(failed)?;
    Ok(seed)
}

/// The text of a small file, without the newlines at its end.
pub(super) fn read_text<F: Filesystem>(filesystem: &F, path: &Path) -> io::Result<String> {
    text(&filesystem.open(path)?)
}

fn text(file: &impl File) -> io::Result<String> {
    let bytes = read_up_to(file, KEY_FILE_BYTES_MAX, 0)?;
    let text = String::from_utf8(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

fn parse(file: &impl File) -> io::Result<Signer> {
    Signer::parse(&text(file)?).map_err(invalid)
}

/// A new key. Its name, which is the log's, comes from the key itself.
fn generate() -> io::Result<Signer> {
    let seed = seed()?;
    let unnamed = Signer::new("unnamed", seed).map_err(invalid)?;
    let hash = sha256(&[unnamed.verifier().public_key()]);
    let id: String = hash.iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}")).collect();
    Signer::new(&format!("governd/{id}"), seed).map_err(invalid)
}

/// Puts a small file into place, whole or not at all.
pub(super) fn write<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    name: &str,
    text: &str,
) -> io::Result<()> {
    put(filesystem, directory, name, &format!("{text}\n"))
}

fn put<F: Filesystem>(filesystem: &F, directory: &Path, name: &str, text: &str) -> io::Result<()> {
    let new = directory.join(format!("{name}{NEW_SUFFIX}"));
    let file = filesystem.create(&new)?;
    file.set_size(0)?;
    write_all(&file, text.as_bytes(), 0)?;
    file.sync()?;
    filesystem.rename(&new, &directory.join(name))?;
    filesystem.sync_dir(directory)
}
