//! Signed policies: a signature file beside the documents, and a key that a host can require.
//!
//! What is signed is a note (C2SP signed-note, Ed25519) that says how many files there are and the
//! SHA-256 of their list: the name and SHA-256 of each, in the order of their names, after a line
//! that nothing else which is signed so begins with. So no file can be changed, added or left out.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ring::digest::{Context, SHA256, digest};

use crate::audit::{
    checkpoint::{NoteError, Signer, Verifier},
    tree::Hash,
};

/// The signature of a directory's documents.
const SIGNATURE_FILE: &str = "policy.sig";
/// Longest signature file, in bytes.
const SIGNATURE_BYTES_MAX: u64 = 4_096;
/// What every list begins with.
const HEAD: &[u8] = b"governd policy bundle v1\n";

/// A policy is not what a key's owner signed.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There is no signature, or it cannot be read.
    #[error("cannot read the signature {}", path.display())]
    Unreadable {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is none of this key.
    #[error("{} is no signature of the required key", path.display())]
    Signature {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: NoteError,
    },
    /// The documents are others than those that were signed.
    #[error("{} is about other documents than those that are there", .0.display())]
    Changed(PathBuf),
}

impl BundleError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        "have the documents reviewed and signed with `governd policy sign`; this host requires it"
    }
}

/// Where the signature of a policy file or directory is.
pub fn signature_path(policy: &Path) -> PathBuf {
    if policy.is_dir() {
        return policy.join(SIGNATURE_FILE);
    }
    let mut name = policy.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}

/// Signs documents, pairs of a path and what is in it: the text of the signature file.
pub fn sign<P: AsRef<str>, T: AsRef<[u8]>>(documents: &[(P, T)], signer: &Signer) -> String {
    signer.sign(documents.len() as u64, sealed(documents))
}

/// Checks that documents are those that the key's owner signed.
///
/// # Errors
/// They are not, or there is no signature.
pub fn verify<P: AsRef<str>, T: AsRef<[u8]>>(
    policy: &Path,
    documents: &[(P, T)],
    key: &Verifier,
) -> Result<(), BundleError> {
    let path = signature_path(policy);
    let note = read(&path).map_err(|source| BundleError::Unreadable { path: path.clone(), source });
    let signed =
        key.open(&note?).map_err(|source| BundleError::Signature { path: path.clone(), source })?;
    let is_same = signed.size == documents.len() as u64 && signed.root == sealed(documents);
    if is_same { Ok(()) } else { Err(BundleError::Changed(path)) }
}

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > SIGNATURE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long for a signature"));
    }
    fs::read_to_string(path)
}

/// The hash of the list.
fn sealed<P: AsRef<str>, T: AsRef<[u8]>>(documents: &[(P, T)]) -> Hash {
    let mut lines: Vec<String> = documents.iter().map(|(path, bytes)| line(path, bytes)).collect();
    lines.sort_unstable();
    let mut hash = Context::new(&SHA256);
    hash.update(HEAD);
    lines.iter().for_each(|line| hash.update(line.as_bytes()));
    hash.finish().as_ref().try_into().unwrap_or_default()
}

fn line(path: impl AsRef<str>, bytes: impl AsRef<[u8]>) -> String {
    let name = Path::new(path.as_ref()).file_name().unwrap_or_default().to_string_lossy();
    let digest = digest(&SHA256, bytes.as_ref());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    // A name may have any byte but `/` and NUL, so that a line cannot be made to look like two.
    format!("{name}\0{hex}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_added_left_out_or_signed_by_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let policy = dir.path();
        let signer = Signer::new("acme/policy", [7; 32]).unwrap();
        let documents = vec![("p/a.yaml", "a"), ("p/b.yaml", "b")];
        assert!(matches!(
            verify(policy, &documents, signer.verifier()),
            Err(BundleError::Unreadable { .. })
        ));
        fs::write(signature_path(policy), sign(&documents, &signer)).unwrap();
        verify(policy, &documents, signer.verifier()).unwrap();
        let elsewhere = [("/etc/b.yaml", "b"), ("/etc/a.yaml", "a")];
        verify(policy, &elsewhere, signer.verifier()).unwrap();
        let others = [
            vec![("p/a.yaml", "a")],
            vec![("p/a.yaml", "a"), ("p/b.yaml", "c")],
            vec![("p/a.yaml", "b"), ("p/b.yaml", "a")],
            vec![("p/a.yaml", "a"), ("p/c.yaml", "b")],
            vec![("p/a.yaml", "a"), ("p/b.yaml", "b"), ("p/c.yaml", "")],
        ];
        for other in others {
            let outcome = verify(policy, &other, signer.verifier());
            assert!(matches!(outcome, Err(BundleError::Changed(_))), "{other:?}");
        }
        let stranger = Signer::new("acme/policy", [8; 32]).unwrap();
        assert!(matches!(
            verify(policy, &documents, stranger.verifier()),
            Err(BundleError::Signature { .. })
        ));
    }
}
