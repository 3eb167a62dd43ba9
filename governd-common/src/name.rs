//! Host names: the lower-case form that every parser yields, and the keys under which the name trie
//! holds patterns and finds names.
//!
//! A name here is what a rule can speak of: labels of letters, digits, hyphen and underscore
//! (underscore because service names carry it), 1 to 63 bytes each, 253 together. Anything else is
//! refused, never repaired; an international name is its A-labels (RFC 5890 section 2.3.2.1).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    index::masked,
    key::NameKey,
    limits::{NAME_BYTES_MAX, NAME_KEY_BYTES},
    repeat::{Loop, Plain, Repeat, Step, Work},
};

/// Bytes of a name's buffer: a power of two, so that a mask bounds every index.
pub const NAME_BUFFER_BYTES: usize = NAME_BYTES_MAX.next_power_of_two();
/// Longest label (RFC 1035 section 2.3.4).
pub const LABEL_BYTES_MAX: u8 = 63;

const INDEX_MASK: u32 = NAME_BUFFER_BYTES as u32 - 1;

/// Why bytes are not a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum NameError {
    /// No bytes at all.
    Empty = 1,
    /// A byte that is neither letter, digit, hyphen nor underscore.
    Byte = 2,
    /// Two dots in a row, or a dot at the beginning.
    EmptyLabel = 3,
    /// A label above 63 bytes.
    LabelTooLong = 4,
    /// More than 253 bytes.
    TooLong = 5,
}

/// A host name in lower case, without the final dot. The rest of the buffer is not part of it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Name {
    /// Bytes in use, at most [`NAME_BYTES_MAX`].
    pub len: u16,
    /// Bytes of the label that is being written; 0 after a dot.
    label: u8,
    /// 1 if the last label is digits so far.
    numeric: u8,
    /// The name.
    pub bytes: [u8; NAME_BUFFER_BYTES],
}

impl Name {
    /// No name yet.
    pub const EMPTY: Self = Self { len: 0, label: 0, numeric: 0, bytes: [0; NAME_BUFFER_BYTES] };

    /// Reads a name as people and protocols write it; one final dot is accepted.
    pub fn parse(text: &[u8]) -> Result<Self, NameError> {
        let mut name = Self::EMPTY;
        for byte in text {
            name.push(*byte)?;
        }
        name.finish()?;
        Ok(name)
    }

    /// The bytes in use.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The byte at a place, which is part of the name only below `len`.
    #[inline(always)]
    pub(crate) fn byte(&self, at: u32) -> u8 {
        self.bytes.get(masked(at, INDEX_MASK)).copied().unwrap_or(0)
    }

    /// The name as text; it is ASCII.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Begins again.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.len = 0;
        self.label = 0;
        self.numeric = 0;
    }

    /// Begins again with a buffer of zeroes, so that the whole of it can be compared.
    #[inline(always)]
    pub fn wipe(&mut self) {
        self.clear();
        self.bytes = [0; NAME_BUFFER_BYTES];
    }

    /// Appends a byte of the written form; a dot ends a label.
    #[inline(always)]
    pub fn push(&mut self, byte: u8) -> Result<(), NameError> {
        if byte == b'.' { self.end_label() } else { self.push_label_byte(byte) }
    }

    /// Ends a label. The dot itself is written when another label begins, so that a final dot,
    /// which only says that the name is absolute, leaves no trace.
    #[inline(always)]
    pub fn end_label(&mut self) -> Result<(), NameError> {
        if self.label == 0 {
            return Err(NameError::EmptyLabel);
        }
        self.label = 0;
        Ok(())
    }

    /// Appends a byte of a label, folded to lower case; here a dot is refused.
    #[inline(always)]
    pub fn push_label_byte(&mut self, byte: u8) -> Result<(), NameError> {
        let Some(folded) = fold(byte) else {
            return Err(NameError::Byte);
        };
        if self.label >= LABEL_BYTES_MAX {
            return Err(NameError::LabelTooLong);
        }
        if self.label == 0 {
            self.numeric = 1;
            if self.len != 0 {
                self.append(b'.')?;
            }
        }
        self.label = self.label.wrapping_add(1);
        self.numeric &= u8::from(is_digit(byte));
        self.append(folded)
    }

    /// Checks that the name is complete.
    #[inline(always)]
    pub fn finish(&self) -> Result<(), NameError> {
        if self.len == 0 { Err(NameError::Empty) } else { Ok(()) }
    }

    /// True if the last label is all digits: an IPv4 address or something that a client could take
    /// for one (WHATWG URL section 3.5, "ends in a number").
    #[inline(always)]
    pub fn ends_in_number(&self) -> bool {
        self.numeric != 0
    }

    /// Writes the trie key of this very name and returns its prefix length in bits. What follows
    /// the prefix keeps its former bytes; the trie does not look there.
    #[inline(always)]
    pub fn write_key<R: Repeat>(&self, slot: u32, key: &mut NameKey) -> u32 {
        self.write_reversed::<R>(slot, 0, key)
    }

    /// The key of this very name in a slot, and its prefix length in bits.
    pub fn key(&self, slot: u32) -> (NameKey, u32) {
        self.terminated(slot, 0)
    }

    /// The key of every name below this one, and its prefix length in bits.
    pub fn key_below(&self, slot: u32) -> (NameKey, u32) {
        self.terminated(slot, b'.')
    }

    fn terminated(&self, slot: u32, terminator: u8) -> (NameKey, u32) {
        let mut key = NameKey { bytes: [0; NAME_KEY_BYTES] };
        let bits = self.write_reversed::<Plain>(slot, terminator, &mut key);
        (key, bits)
    }

    #[inline(always)]
    fn write_reversed<R: Repeat>(&self, slot: u32, terminator: u8, key: &mut NameKey) -> u32 {
        let len = u32::from(self.len) & INDEX_MASK;
        if let Some(first) = key.bytes.first_mut() {
            *first = slot as u8;
        }
        R::repeat::<_, Reverse>(len, &mut Reversal { name: self, key: &mut *key });
        if let Some(last) = key.bytes.get_mut(masked(len + 1, INDEX_MASK)) {
            *last = terminator;
        }
        (len + 2) * 8
    }

    #[inline(always)]
    fn append(&mut self, byte: u8) -> Result<(), NameError> {
        if usize::from(self.len) >= NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        if let Some(place) = self.bytes.get_mut(masked(u32::from(self.len), INDEX_MASK)) {
            *place = byte;
        }
        self.len = self.len.wrapping_add(1);
        Ok(())
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl core::fmt::Display for Name {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The lower-case form of a byte that a label may hold.
#[inline(always)]
fn fold(byte: u8) -> Option<u8> {
    let lower = fold_case(byte);
    let letter = lower.wrapping_sub(b'a') < 26;
    if letter || is_digit(byte) || byte == b'-' || byte == b'_' { Some(lower) } else { None }
}

#[inline(always)]
pub(crate) fn is_digit(byte: u8) -> bool {
    byte.wrapping_sub(b'0') < 10
}

/// ASCII upper case to lower case; other bytes stay (RFC 4343 section 3).
#[inline(always)]
pub(crate) fn fold_case(byte: u8) -> u8 {
    if byte.wrapping_sub(b'A') < 26 { byte | 0x20 } else { byte }
}

struct Reversal<'a> {
    name: &'a Name,
    key: &'a mut NameKey,
}

struct Reverse;

impl Work<Reversal<'_>> for Reverse {
    #[inline(always)]
    fn of(_: &Reversal<'_>) -> Loop {
        Loop::Short
    }

    #[inline(always)]
    fn step(index: u32, state: &mut Reversal<'_>) -> Step {
        let to = masked(u32::from(state.name.len).wrapping_sub(index), INDEX_MASK);
        let byte = state.name.byte(index);
        if let Some(place) = state.key.bytes.get_mut(to) {
            *place = byte;
        }
        Step::Again
    }
}

/// What a rule writes for names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pattern {
    /// `api.example.com`: this name.
    Exact(Name),
    /// `*.example.com`: one or more labels below this name, never the name itself.
    Below(Name),
}

impl Pattern {
    /// Reads a pattern; the only wildcard is a whole first label `*`.
    pub fn parse(text: &[u8]) -> Result<Self, NameError> {
        match text.strip_prefix(b"*.") {
            Some(apex) => Name::parse(apex).map(Self::Below),
            None => Name::parse(text).map(Self::Exact),
        }
    }

    /// The pattern's key in a slot, and its prefix length in bits.
    pub fn key(&self, slot: u32) -> (NameKey, u32) {
        match self {
            Self::Exact(name) => name.key(slot),
            Self::Below(apex) => apex.key_below(slot),
        }
    }
}

const _: () = {
    assert!(NAME_BUFFER_BYTES == 256 && NAME_KEY_BYTES == NAME_BUFFER_BYTES);
    assert!(NAME_BYTES_MAX + 2 <= NAME_KEY_BYTES);
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_name_is_folded_and_loses_its_final_dot() {
        assert_eq!(name("API.OpenAI.com.").as_str(), "api.openai.com");
        assert_eq!(name("_dns.resolver-1.arpa").as_str(), "_dns.resolver-1.arpa");
    }

    #[test]
    fn what_is_not_a_name_is_refused_with_its_reason() {
        let long_label = "a".repeat(64);
        let long_name = [&"a".repeat(63); 4].map(String::as_str).join(".");
        let rows: [(&[u8], NameError); 10] = [
            (b"", NameError::Empty),
            (b".", NameError::EmptyLabel),
            (b"..", NameError::EmptyLabel),
            (b".a", NameError::EmptyLabel),
            (b"a..b", NameError::EmptyLabel),
            (b"a\0b", NameError::Byte),
            (b"a b", NameError::Byte),
            ("ä.example".as_bytes(), NameError::Byte),
            (long_label.as_bytes(), NameError::LabelTooLong),
            (long_name.as_bytes(), NameError::TooLong),
        ];
        for (text, error) in rows {
            assert_eq!(Name::parse(text).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn the_longest_name_has_a_key() {
        let text = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        let (key, bits) = name(&text).key(1);
        assert_eq!((text.len(), bits), (253, 255 * 8));
        assert_eq!(
            (key.bytes[0], key.bytes[1], key.bytes[253], key.bytes[254]),
            (1, b'd', b'a', 0)
        );
    }

    #[test]
    fn exact_keys_end_in_nul_and_wildcards_in_a_dot() {
        let (exact, exact_bits) = Pattern::parse(b"Example.com").unwrap().key(1);
        let (below, below_bits) = Pattern::parse(b"*.example.com").unwrap().key(1);
        assert_eq!(&exact.bytes[..13], b"\x01moc.elpmaxe\0");
        assert_eq!(&below.bytes[..13], b"\x01moc.elpmaxe.");
        assert_eq!((exact_bits, below_bits), (13 * 8, 13 * 8));
    }

    #[test]
    fn a_star_elsewhere_is_refused() {
        for text in ["*", "*.", "a.*.b", "*a.b", "*.*.b"] {
            assert!(Pattern::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_at_the_end_are_seen() {
        assert!(name("192.0.2.1").ends_in_number());
        assert!(name("example.123.").ends_in_number());
        assert!(!name("1.example").ends_in_number());
    }

    fn starts_with((key, _): (NameKey, u32), (prefix, bits): (NameKey, u32)) -> bool {
        let bytes = bits as usize / 8;
        key.bytes[..bytes] == prefix.bytes[..bytes]
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(name) = Name::parse(&bytes) {
                prop_assert!(name.as_str().split('.').all(|label| (1..=63).contains(&label.len())));
                prop_assert!(Name::parse(name.as_bytes()).unwrap() == name);
            }
        }

        #[test]
        fn a_key_matches_like_the_pattern(
            apex in "[a-z]{1,3}(\\.[a-z]{1,3}){0,2}", below in "([a-z]{1,3}\\.){0,2}", other in "[a-z.]{1,9}",
        ) {
            let wildcard = Pattern::parse(format!("*.{apex}").as_bytes()).unwrap().key(0);
            let exact = Pattern::parse(apex.as_bytes()).unwrap().key(0);
            for text in [format!("{below}{apex}"), other] {
                let Ok(asked) = Name::parse(text.as_bytes()) else { continue };
                let text = asked.as_str();
                prop_assert_eq!(starts_with(asked.key(0), exact), text == apex);
                let is_below = text.ends_with(&format!(".{apex}"));
                prop_assert_eq!(starts_with(asked.key(0), wildcard), is_below);
            }
        }
    }
}
