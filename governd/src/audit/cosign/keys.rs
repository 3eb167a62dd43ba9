//! All keys of one witness. While one replaces another, checkpoints get the cosignatures of both,
//! so that who knows either finds what it knows; those that were replaced tell what is of their
//! time.

use std::fmt;

use super::{CosignError, Cosigner, PRIVATE_KEY_MARK, Witness};

/// Keys that a witness may have had, and has.
const KEYS_MAX: usize = 256;

/// Public keys of a witness, the newest first. In text, one a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Witnesses {
    newest: Witness,
    older: Vec<Witness>,
}

impl Witnesses {
    /// Reads a key a line.
    ///
    /// # Errors
    ///
    /// If there is none, a line is none, or there are more than a witness may have.
    pub fn parse(text: &str) -> Result<Self, CosignError> {
        let keys: Result<Vec<_>, _> = text.trim().lines().map(Witness::parse).collect();
        Self::of(keys?).ok_or(CosignError::Key)
    }

    fn of(mut keys: Vec<Witness>) -> Option<Self> {
        let is_few = (1..=KEYS_MAX).contains(&keys.len());
        is_few.then(|| Self { newest: keys.remove(0), older: keys })
    }

    /// The key that cosigns now.
    pub fn newest(&self) -> &Witness {
        &self.newest
    }

    /// Checks that a note carries a cosignature by one of the keys, the newest that is on it, and
    /// gives its time in seconds since 1970.
    ///
    /// # Errors
    ///
    /// If there is none, or it is wrong.
    pub fn check(&self, note: &str) -> Result<u64, CosignError> {
        let mut keys = std::iter::once(&self.newest).chain(&self.older);
        let checked = keys.find_map(|key| match key.check(note) {
            Err(CosignError::Missing) => None,
            checked => Some(checked),
        });
        checked.unwrap_or(Err(CosignError::Missing))
    }
}

impl fmt::Display for Witnesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.newest)?;
        self.older.iter().try_for_each(|key| write!(f, "\n{key}"))
    }
}

/// What a witness cosigns with.
pub struct Cosigners {
    newest: Cosigner,
    /// The key that it replaces, until that is over.
    replaced: Option<Cosigner>,
    /// Public keys of those before.
    former: Vec<Witness>,
}

impl From<Cosigner> for Cosigners {
    fn from(newest: Cosigner) -> Self {
        Self { newest, replaced: None, former: Vec::new() }
    }
}

impl Cosigners {
    /// Reads what [`Cosigners::secret`] wrote.
    ///
    /// # Errors
    ///
    /// If it is not of that form.
    pub fn parse(text: &str) -> Result<Self, CosignError> {
        let mut lines = text.trim().lines().peekable();
        let newest = Cosigner::parse(lines.next().unwrap_or_default())?;
        let replaced = lines.next_if(|line| line.starts_with(PRIVATE_KEY_MARK));
        let replaced = replaced.map(Cosigner::parse).transpose()?;
        let former: Vec<_> = lines.map(Witness::parse).collect::<Result<_, _>>()?;
        let is_few = former.len() < KEYS_MAX - 1;
        if is_few { Ok(Self { newest, replaced, former }) } else { Err(CosignError::Key) }
    }

    /// Private keys in text form, a line each, and the public ones of those before.
    pub fn secret(&self) -> String {
        let Self { newest, replaced, former } = self;
        let private = std::iter::once(newest).chain(replaced).map(Cosigner::secret);
        let lines = private.chain(former.iter().map(Witness::to_string));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The public keys.
    pub fn witnesses(&self) -> Witnesses {
        let Self { newest, replaced, former } = self;
        let replaced = replaced.iter().map(Cosigner::witness);
        let older = replaced.chain(former).cloned().collect();
        Witnesses { newest: newest.witness().clone(), older }
    }

    /// Whether two keys cosign.
    pub fn is_changing(&self) -> bool {
        self.replaced.is_some()
    }

    /// Begins to cosign with a further key, beside the one that it replaces.
    ///
    /// # Errors
    ///
    /// If another one is being replaced, or there were too many.
    pub fn begin(self, newest: Cosigner) -> Result<Self, CosignError> {
        // Both become former ones in the end.
        if self.replaced.is_some() || self.former.len() + 2 >= KEYS_MAX {
            return Err(CosignError::Key);
        }
        Ok(Self { newest, replaced: Some(self.newest), former: self.former })
    }

    /// Cosigns with the newest key alone from now on.
    #[must_use]
    pub fn finish(self) -> Self {
        let Self { newest, replaced, mut former } = self;
        if let Some(replaced) = replaced {
            former.insert(0, replaced.witness().clone());
        }
        Self { newest, replaced: None, former }
    }

    /// A signed checkpoint with a cosignature by each key behind the signatures that it has; the
    /// time is in seconds since 1970.
    pub fn cosign(&self, note: &str, time_s: u64) -> String {
        let cosigned = self.newest.cosign(note, time_s);
        match &self.replaced {
            Some(replaced) => replaced.cosign(&cosigned, time_s),
            None => cosigned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::checkpoint::{SEED_BYTES, Signer};

    fn key(seed: u8) -> Cosigner {
        Cosigner::new("sink.example", [seed; SEED_BYTES]).unwrap()
    }

    #[test]
    fn while_a_key_replaces_another_both_cosign() {
        let host = Signer::new("governd/host", [1; SEED_BYTES]).unwrap();
        let note = host.sign(3, [9; 32]);
        let stranger = Witnesses::parse(&key(9).witness().to_string()).unwrap();
        let one = Cosigners::from(key(1));
        let (knows_one, by_one) = (one.witnesses(), one.cosign(&note, 1));
        let both = one.begin(key(2)).unwrap();
        let (knows_both, by_both) = (both.witnesses(), both.cosign(&note, 2));
        let read = Cosigners::parse(&format!("{}\n", both.secret())).unwrap();
        assert!(read.begin(key(3)).is_err(), "one at a time");
        let two = Cosigners::parse(&both.secret()).unwrap().finish();
        let (knows_two, by_two) = (two.witnesses(), two.cosign(&note, 3));
        assert_eq!(knows_two, knows_both);
        assert_eq!(Cosigners::parse(&two.secret()).unwrap().witnesses(), knows_two);
        let (missing, none) = (CosignError::Missing, [Err(CosignError::Missing); 3]);
        let by = [&by_one, &by_both, &by_two];
        for (knows, checked) in [
            (&knows_one, [Ok(1), Ok(2), Err(missing)]),
            (&knows_both, [Ok(1), Ok(2), Ok(3)]),
            (&stranger, none),
        ] {
            assert_eq!(by.map(|note| knows.check(note)), checked);
        }
        assert_eq!(by.map(|note| knows_two.newest().check(note)), [Err(missing), Ok(2), Ok(3)]);
        // A cosignature that is there and wrong is not made good by another one.
        let changed = by_both.replacen("\n3\n", "\n4\n", 1);
        assert_eq!(knows_both.check(&changed), Err(CosignError::Signature));
        assert_eq!(host.verifier().open(&by_both).unwrap().size, 3);
    }

    #[test]
    fn keys_are_read_as_they_are_written_and_are_not_without_number() {
        let both = Cosigners::from(key(1)).begin(key(2)).unwrap().witnesses();
        assert_eq!(Witnesses::parse(&both.to_string()).unwrap(), both);
        for bad in ["", "\n", "a\nb", &format!("{both}\n\n{}", key(3).witness())] {
            assert_eq!(Witnesses::parse(bad), Err(CosignError::Key), "{bad}");
        }
        let mut keys = Cosigners::from(key(0));
        let mut count = 1;
        while let Ok(more) = Cosigners::parse(&keys.secret()).unwrap().begin(key(1)) {
            keys = more.finish();
            count += 1;
        }
        assert_eq!((count, Witnesses::parse(&keys.witnesses().to_string()).is_ok()), (255, true));
        let many = format!("{}\n{}\n{}", keys.witnesses(), keys.witnesses(), key(1).witness());
        assert_eq!(Witnesses::parse(&many), Err(CosignError::Key));
    }
}
