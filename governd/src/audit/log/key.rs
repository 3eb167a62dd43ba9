//! The host's signing key: made at the first start, kept beside the log, readable by its owner.

use std::{io, path::Path};

use ring::rand::{SecureRandom, SystemRandom};

use super::storage::{File, Filesystem, read_up_to, write_all};
use crate::audit::{
    checkpoint::{SEED_BYTES, Signer},
    tree::sha256,
};

/// The private key, in signed-note's form.
pub(super) const SECRET_FILE: &str = "key";
/// The public key, in signed-note's form: what a third party needs to verify the log.
pub(super) const PUBLIC_FILE: &str = "key.pub";
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
    let public = signer.verifier().to_string();
    if read_text(filesystem, &directory.join(PUBLIC_FILE)).ok().as_ref() != Some(&public) {
        write(filesystem, directory, PUBLIC_FILE, &public)?;
    }
    Ok(signer)
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
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    Signer::parse(&text(file)?).map_err(invalid)
}

/// A new key. Its name, which is the log's, comes from the key itself.
fn generate() -> io::Result<Signer> {
    let mut seed = [0; SEED_BYTES];
    let failed = |_| io::Error::other("the system gives no randomness");
    SystemRandom::new().fill(&mut seed).map_err(failed)?;
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
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
    let new = directory.join(format!("{name}{NEW_SUFFIX}"));
    let file = filesystem.create(&new)?;
    file.set_size(0)?;
    write_all(&file, format!("{text}\n").as_bytes(), 0)?;
    file.sync()?;
    filesystem.rename(&new, &directory.join(name))?;
    filesystem.sync_dir(directory)
}
