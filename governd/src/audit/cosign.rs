//! Cosignatures: a witness says when it saw a checkpoint that goes on from all that it saw before
//! (C2SP tlog-cosignature, `cosignature/v1`). Pure: time and the seed of a new key come in as
//! values.

mod keys;

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

pub use self::keys::{Cosigners, Witnesses};
use super::{checkpoint::SEED_BYTES, tree::sha256};

const PUBLIC_KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 4;
const TIME_BYTES: usize = 8;
/// Signature type of timestamped Ed25519 cosignatures in signed-note.
const ALGORITHM: u8 = 4;
const MARK: &str = "— ";
const PRIVATE_KEY_MARK: &str = "PRIVATE+KEY+";

/// Why a cosignature or key is none, or not to be trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CosignError {
    /// A key in text form could not be read, or its name is none.
    #[error("this is no key of a witness in signed-note form")]
    Key,
    /// The note has no cosignature of this witness.
    #[error("the checkpoint has no cosignature of this witness")]
    Missing,
    /// The cosignature does not fit the text.
    #[error("the witness's cosignature is wrong")]
    Signature,
}

/// A witness's public key and name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Witness {
    name: String,
    public_key: [u8; PUBLIC_KEY_BYTES],
}

impl Witness {
    /// Reads `name+id+key`.
    ///
    /// # Errors
    ///
    /// If it is not of this form, or its id does not fit the key.
    pub fn parse(text: &str) -> Result<Self, CosignError> {
        let (name, public_key) = parse_key(text).ok_or(CosignError::Key)?;
        let witness = Self { name: name.to_owned(), public_key };
        if witness.to_string() == text { Ok(witness) } else { Err(CosignError::Key) }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks that a note carries this witness's cosignature, and gives its time in seconds since
    /// 1970.
    ///
    /// # Errors
    ///
    /// If there is none, or it is wrong.
    pub fn check(&self, note: &str) -> Result<u64, CosignError> {
        let (body, signatures) = note.split_once("\n\n").ok_or(CosignError::Missing)?;
        for line in signatures.lines() {
            let Some(signature) = line
                .strip_prefix(MARK)
                .and_then(|rest| rest.strip_prefix(self.name.as_str())?.strip_prefix(' '))
                .and_then(|encoded| BASE64.decode(encoded).ok())
            else {
                continue;
            };
            let Some((id, rest)) = signature.split_first_chunk::<KEY_ID_BYTES>() else {
                continue;
            };
            let Some((time, signature)) = rest.split_first_chunk::<TIME_BYTES>() else {
                continue;
            };
            if *id != key_id(&self.name, &self.public_key) {
                continue;
            }
            let time = u64::from_be_bytes(*time);
            let key = UnparsedPublicKey::new(&ED25519, &self.public_key);
            let message = message(time, body);
            key.verify(message.as_bytes(), signature).map_err(|_| CosignError::Signature)?;
            return Ok(time);
        }
        Err(CosignError::Missing)
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", encode(&self.name, &self.public_key, &self.public_key))
    }
}

/// A witness's private key and name. Its text form is only for its file.
pub struct Cosigner {
    pair: Ed25519KeyPair,
    seed: [u8; SEED_BYTES],
    witness: Witness,
}

impl Cosigner {
    /// A key from a seed. The name must not be empty nor have spaces or `+` in it.
    ///
    /// # Errors
    ///
    /// If the name is not such a one.
    pub fn new(name: &str, seed: [u8; SEED_BYTES]) -> Result<Self, CosignError> {
        let is_name = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+');
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| CosignError::Key)?;
        let public_key = pair.public_key().as_ref().try_into().map_err(|_| CosignError::Key)?;
        let witness = Witness { name: name.to_owned(), public_key };
        if is_name { Ok(Self { pair, seed, witness }) } else { Err(CosignError::Key) }
    }

    /// Reads what [`Cosigner::secret`] wrote.
    ///
    /// # Errors
    ///
    /// If it is not of that form, or its id does not fit the key.
    pub fn parse(text: &str) -> Result<Self, CosignError> {
        let (name, seed) =
            text.strip_prefix(PRIVATE_KEY_MARK).and_then(parse_key).ok_or(CosignError::Key)?;
        let cosigner = Self::new(name, seed)?;
        if cosigner.secret() == text { Ok(cosigner) } else { Err(CosignError::Key) }
    }

    /// The private key in text form.
    pub fn secret(&self) -> String {
        let Witness { name, public_key } = &self.witness;
        format!("{PRIVATE_KEY_MARK}{}", encode(name, public_key, &self.seed))
    }

    /// The public key.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// A signed checkpoint with this witness's cosignature behind the signatures that it has; the
    /// time is in seconds since 1970.
    pub fn cosign(&self, note: &str, time_s: u64) -> String {
        let body = note.split_once("\n\n").map_or(note, |(body, _)| body);
        let signature = self.pair.sign(message(time_s, body).as_bytes());
        let Witness { name, public_key } = &self.witness;
        let id = key_id(name, public_key);
        let bytes = [id.as_slice(), &time_s.to_be_bytes(), signature.as_ref()].concat();
        format!("{note}{MARK}{name} {}\n", BASE64.encode(bytes))
    }
}

/// What is signed: the body of the checkpoint, with the time in front.
fn message(time_s: u64, body: &str) -> String {
    format!("cosignature/v1\ntime {time_s}\n{body}\n")
}

fn key_id(name: &str, public_key: &[u8]) -> [u8; KEY_ID_BYTES] {
    let hash = sha256(&[name.as_bytes(), b"\n", &[ALGORITHM], public_key]);
    hash.first_chunk().copied().unwrap_or_default()
}

fn encode(name: &str, public_key: &[u8], key: &[u8]) -> String {
    let id = u32::from_be_bytes(key_id(name, public_key));
    format!("{name}+{id:08x}+{}", BASE64.encode([&[ALGORITHM], key].concat()))
}

fn parse_key(text: &str) -> Option<(&str, [u8; PUBLIC_KEY_BYTES])> {
    // The name has no `+`, but base64 may.
    let (name, rest) = text.split_once('+')?;
    let (_, key) = rest.split_once('+')?;
    let bytes = BASE64.decode(key).ok()?;
    let (algorithm, key) = bytes.split_first()?;
    let key = key.try_into().ok()?;
    (*algorithm == ALGORITHM && !name.is_empty()).then_some((name, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::checkpoint::Signer;

    const NAME: &str = "sink.example/witness";

    fn cosigner() -> Cosigner {
        Cosigner::new(NAME, [7; SEED_BYTES]).unwrap()
    }

    #[test]
    fn a_cosigned_checkpoint_opens_with_both_keys() {
        let host = Signer::new("governd/host", [1; SEED_BYTES]).unwrap();
        let note = host.sign(3, [9; 32]);
        let cosigned = cosigner().cosign(&note, 1_700_000_000);
        assert_eq!(host.verifier().open(&cosigned).unwrap().size, 3);
        assert_eq!(cosigner().witness().check(&cosigned), Ok(1_700_000_000));
        assert_eq!(cosigner().witness().check(&note), Err(CosignError::Missing));
        let other = Cosigner::new(NAME, [8; SEED_BYTES]).unwrap();
        assert_eq!(other.witness().check(&cosigned), Err(CosignError::Missing));
        let changed = cosigned.replacen("\n3\n", "\n4\n", 1);
        assert_eq!(cosigner().witness().check(&changed), Err(CosignError::Signature));
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        let cosigner = cosigner();
        let read = Cosigner::parse(&cosigner.secret()).unwrap();
        assert_eq!(read.witness(), cosigner.witness());
        let text = cosigner.witness().to_string();
        assert_eq!(Witness::parse(&text).as_ref(), Ok(cosigner.witness()));
        for bad in ["", "a+b", &text.replace(NAME, "other"), &cosigner.secret()] {
            assert_eq!(Witness::parse(bad), Err(CosignError::Key), "{bad}");
        }
    }
}
