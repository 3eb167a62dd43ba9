//! Checkpoints: a log's size and root hash, signed (C2SP tlog-checkpoint in a signed note with
//! Ed25519, C2SP signed-note). Pure: randomness for a new key comes in as a value, files are the
//! log's.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::tree::{HASH_BYTES, Hash, sha256};

/// Bytes of an Ed25519 seed.
pub const SEED_BYTES: usize = 32;

const PUBLIC_KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 4;
/// Signature type Ed25519 of signed-note.
const ALGORITHM_ED25519: u8 = 1;
const SIGNATURE_MARK: &str = "— ";
const PRIVATE_KEY_MARK: &str = "PRIVATE+KEY+";
/// Signature lines that are looked at: the host's and those of witnesses.
const SIGNATURES_MAX: usize = 16;

/// What a log is at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// Which log: the name of its key.
    pub origin: String,
    /// Records in it.
    pub size: u64,
    /// Root hash of the tree of these records.
    pub root: Hash,
}

/// Why a note or key is not one, or not to be trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoteError {
    /// It has not the form of a checkpoint in a signed note.
    #[error("this is no signed checkpoint")]
    Malformed,
    /// It is about another log than the key.
    #[error("the checkpoint is of another log than the key")]
    Origin,
    /// No signature of the key is on it.
    #[error("the checkpoint has no signature of this key")]
    Unsigned,
    /// The key's signature does not fit the text.
    #[error("the checkpoint's signature is wrong")]
    Signature,
    /// A key in text form could not be read.
    #[error("this is no Ed25519 key in signed-note form")]
    Key,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    fn parse(body: &str) -> Option<Self> {
        let mut lines = body.strip_suffix('\n')?.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty())?;
        let digits = lines.next()?;
        let size: u64 = digits.parse().ok()?;
        let root: Hash = BASE64.decode(lines.next()?).ok()?.try_into().ok()?;
        // A number has one form: no sign and no leading zero.
        (size.to_string() == digits).then(|| Self { origin: origin.to_owned(), size, root })
    }
}

/// A public key and the name it signs under.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verifier {
    name: String,
    public_key: [u8; PUBLIC_KEY_BYTES],
}

impl Verifier {
    /// Reads `name+id+key`, as signed-note writes verifier keys.
    ///
    /// # Errors
    ///
    /// If it is not of this form, or its id does not fit the key.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, public_key) = parse_key(text).ok_or(NoteError::Key)?;
        let verifier = Self { name: name.to_owned(), public_key };
        if verifier.to_string() == text { Ok(verifier) } else { Err(NoteError::Key) }
    }

    /// The name it signs under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key itself.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Opens a signed note: the checkpoint in it, once this key's signature is checked. Signatures
    /// of others are left alone.
    ///
    /// # Errors
    ///
    /// If it is malformed, of another log, or not signed by this key.
    pub fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let (body, signatures) = note.split_once("\n\n").ok_or(NoteError::Malformed)?;
        let body = format!("{body}\n");
        let checkpoint = Checkpoint::parse(&body).ok_or(NoteError::Malformed)?;
        if checkpoint.origin != self.name {
            return Err(NoteError::Origin);
        }
        let signatures = signatures.strip_suffix('\n').ok_or(NoteError::Malformed)?;
        let mut outcome = Err(NoteError::Unsigned);
        for line in signatures.split('\n').take(SIGNATURES_MAX) {
            let (name, signature) = signature_line(line).ok_or(NoteError::Malformed)?;
            let Some((id, signature)) = signature.split_first_chunk::<KEY_ID_BYTES>() else {
                return Err(NoteError::Malformed);
            };
            if name != self.name || *id != self.id() {
                continue;
            }
            let key = UnparsedPublicKey::new(&ED25519, &self.public_key);
            key.verify(body.as_bytes(), signature).map_err(|_| NoteError::Signature)?;
            outcome = Ok(());
        }
        outcome.map(|()| checkpoint)
    }

    /// Whether a text has this key's signature, which is in base64.
    pub fn check_text(&self, text: &str, signature: &str) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.public_key);
        let signature = BASE64.decode(signature);
        signature.is_ok_and(|signature| key.verify(text.as_bytes(), &signature).is_ok())
    }

    fn id(&self) -> [u8; KEY_ID_BYTES] {
        let hash = sha256(&[self.name.as_bytes(), b"\n", &[ALGORITHM_ED25519], &self.public_key]);
        hash.first_chunk().copied().unwrap_or_default()
    }
}

/// What tells whether a checkpoint is its log's: a key, or all keys that a log had.
pub trait Opens {
    /// The log's name.
    fn name(&self) -> &str;

    /// Opens a signed note: the checkpoint in it, once the log's signature is checked.
    ///
    /// # Errors
    ///
    /// If it is malformed, of another log, or not signed by the key that signs such a size.
    fn open(&self, note: &str) -> Result<Checkpoint, NoteError>;
}

impl Opens for Verifier {
    fn name(&self) -> &str {
        self.name()
    }

    fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        self.open(note)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        write!(f, "{}+{id:08x}+{}", self.name, encode_key(&self.public_key))
    }
}

/// A private key and the name it signs under. Its text form is only for its file.
pub struct Signer {
    pair: Ed25519KeyPair,
    seed: [u8; SEED_BYTES],
    verifier: Verifier,
}

impl Signer {
    /// A key from a seed. The name must not be empty nor have spaces or `+` in it.
    ///
    /// # Errors
    ///
    /// If the name is not such a one.
    pub fn new(name: &str, seed: [u8; SEED_BYTES]) -> Result<Self, NoteError> {
        let is_name = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+');
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| NoteError::Key)?;
        let public_key = pair.public_key().as_ref().try_into().map_err(|_| NoteError::Key)?;
        let verifier = Verifier { name: name.to_owned(), public_key };
        if is_name { Ok(Self { pair, seed, verifier }) } else { Err(NoteError::Key) }
    }

    /// Reads what [`Signer::secret`] wrote.
    ///
    /// # Errors
    ///
    /// If it is not of that form, or its id does not fit the key.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, seed) =
            text.strip_prefix(PRIVATE_KEY_MARK).and_then(parse_key).ok_or(NoteError::Key)?;
        let signer = Self::new(name, seed)?;
        if signer.secret() == text { Ok(signer) } else { Err(NoteError::Key) }
    }

    /// The private key in signed-note's text form.
    pub fn secret(&self) -> String {
        let id = u32::from_be_bytes(self.verifier.id());
        format!("{PRIVATE_KEY_MARK}{}+{id:08x}+{}", self.verifier.name, encode_key(&self.seed))
    }

    /// The public key.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The signature of a text that is no checkpoint, in base64.
    pub fn sign_text(&self, text: &str) -> String {
        BASE64.encode(self.pair.sign(text.as_bytes()))
    }

    /// Signs a size and root of this key's log: a note that ends in a newline.
    pub fn sign(&self, size: u64, root: Hash) -> String {
        let name = &self.verifier.name;
        let body = Checkpoint { origin: name.clone(), size, root }.body();
        let signature = self.pair.sign(body.as_bytes());
        let signature = BASE64.encode([&self.verifier.id(), signature.as_ref()].concat());
        format!("{body}\n{SIGNATURE_MARK}{name} {signature}\n")
    }
}

/// `name+id+base64 of the algorithm and 32 bytes`; the id is checked by writing the key again.
fn parse_key(text: &str) -> Option<(&str, [u8; HASH_BYTES])> {
    // The name has no `+`, but base64 may.
    let (name, rest) = text.split_once('+')?;
    let (_, key) = rest.split_once('+')?;
    let bytes = BASE64.decode(key).ok()?;
    let (algorithm, key) = bytes.split_first()?;
    let key = key.try_into().ok()?;
    (*algorithm == ALGORITHM_ED25519 && !name.is_empty()).then_some((name, key))
}

fn encode_key(key: &[u8; PUBLIC_KEY_BYTES]) -> String {
    BASE64.encode([&[ALGORITHM_ED25519], key.as_slice()].concat())
}

fn signature_line(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, signature) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
    Some((name, BASE64.decode(signature).ok()?))
}

/// The length of the note that text begins with: a body, an empty line and one signature line, as
/// [`Signer::sign`] writes them; `None` if the text ends before the note does.
pub fn note_len(text: &str) -> Option<usize> {
    let body = text.find("\n\n")? + "\n\n".len();
    let signature = text.get(body..)?.find('\n')? + "\n".len();
    Some(body + signature)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made with OpenSSL from the seed 00 01 02 .. 1f: a log of the one line `record`.
    const PUBLIC: &str =
        "governd.example/host-a+6bd15322+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    const SECRET: &str = "PRIVATE+KEY+governd.example/host-a+6bd15322+\
                          AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    const NOTE: &str = "governd.example/host-a\n1\n\
        5hChEu3XXdtX6k0u0ZGghryRPOWQu48rbbldPMP+Lg4=\n\n\
        — governd.example/host-a a9FTIqNP9GD4taFDInVSuz6RGIigG62lSMKt/k38fJHTi44OvglEGEPQZBEd\
        chQjESe+wBJp3Gqm+oI+lZC+KkmAEQY=\n";

    #[test]
    fn a_checkpoint_made_by_others_opens_and_is_signed_the_same() {
        let verifier = Verifier::parse(PUBLIC).unwrap();
        let checkpoint = verifier.open(NOTE).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size), (verifier.name(), 1));
        assert_eq!(checkpoint.root, super::super::tree::leaf_hash(b"record"));
        let signer = Signer::parse(SECRET).unwrap();
        assert_eq!(signer.verifier(), &verifier);
        assert_eq!(signer.sign(1, checkpoint.root), NOTE);
        assert_eq!(note_len(NOTE), Some(NOTE.len()));
    }

    #[test]
    fn other_signatures_on_a_note_are_left_alone() {
        let verifier = Verifier::parse(PUBLIC).unwrap();
        let witnessed = format!("{NOTE}— witness.example dGVzdHNpZ25hdHVyZQ==\n");
        assert_eq!(verifier.open(&witnessed), verifier.open(NOTE));
        let other = Signer::new("governd.example/host-a", [7; 32]).unwrap();
        assert_eq!(other.verifier().open(NOTE), Err(NoteError::Unsigned));
        let elsewhere = Signer::new("example.com/elsewhere", [7; 32]).unwrap();
        assert_eq!(elsewhere.verifier().open(NOTE), Err(NoteError::Origin));
    }

    #[test]
    fn malformed_notes_and_keys_are_refused() {
        let verifier = Verifier::parse(PUBLIC).unwrap();
        let rows = [
            ("", NoteError::Malformed),
            ("a\n1\n", NoteError::Malformed),
            (&NOTE.replace("\n1\n", "\n01\n"), NoteError::Malformed),
            (&NOTE.replace("\n1\n", "\n+1\n"), NoteError::Malformed),
            (&NOTE.replace("\n1\n", "\n2\n"), NoteError::Signature),
            (&NOTE.replace("g4=\n", "g4=\nextension\n"), NoteError::Signature),
            (NOTE.trim_end(), NoteError::Malformed),
            (&NOTE.replace("— ", "- "), NoteError::Malformed),
        ];
        for (note, want) in rows {
            assert_eq!(verifier.open(note), Err(want), "{note}");
        }
        for name in ["", "a b", "a+b", "a\nb"] {
            assert_eq!(Signer::new(name, [1; 32]).err(), Some(NoteError::Key), "{name:?}");
        }
        for key in ["", "a", "a+b", "a+00000000+AQ==", &PUBLIC.replace("6bd1", "6bd2")] {
            assert_eq!(Verifier::parse(key), Err(NoteError::Key), "{key}");
            assert_eq!(Signer::parse(key).err(), Some(NoteError::Key), "{key}");
        }
    }

    proptest! {
        #[test]
        fn what_is_signed_opens_and_no_changed_byte_does(
            seed in any::<[u8; 32]>(),
            size in any::<u64>(),
            root in any::<Hash>(),
            place in any::<prop::sample::Index>(),
            bit in 0_u8..7,
        ) {
            let signer = Signer::new("governd/host-a", seed).unwrap();
            let again = Signer::parse(&signer.secret()).unwrap();
            prop_assert_eq!(again.verifier(), signer.verifier());
            let verifier = Verifier::parse(&signer.verifier().to_string()).unwrap();
            let note = signer.sign(size, root);
            let want = Checkpoint { origin: "governd/host-a".to_owned(), size, root };
            prop_assert_eq!(verifier.open(&note), Ok(want));
            let mut bytes = note.into_bytes();
            let at = place.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(bytes) {
                prop_assert!(verifier.open(&changed).is_err(), "{}", changed);
            }
        }
    }
}
