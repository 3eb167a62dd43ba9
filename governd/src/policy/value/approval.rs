//! What an approval holds for: until which day, and for which files.

use std::{fmt, sync::Arc};

use jiff::{civil::Date, tz::TimeZone};

use super::{Fault, Tier, word};
use crate::policy::diagnostic::Code;

/// What an agent could do at worst.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Risk {
    /// Little.
    Low,
    /// Something.
    Medium,
    /// Much.
    High,
    /// Whatever the business fears most.
    Critical,
}

impl Risk {
    /// The word in a document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// Reads `low`, `medium`, `high` or `critical`.
    ///
    /// # Errors
    /// Any other word.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let all = [Self::Low, Self::Medium, Self::High, Self::Critical];
        word(text, &all.map(|one| (one.word(), one)))
    }
}

/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// What an agent falls to when its approval does not hold any more.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Fallback {
    /// It goes on, and the owner is told.
    #[default]
    Notify,
    /// What it was allowed needs a person's grant.
    Approve,
    /// What it was allowed is denied, and has it quarantined.
    Halt,
}

impl Fallback {
    /// The word in a document.
    pub const fn word(self) -> &'static str {
        self.tier().word()
    }

    /// What is left of `allow`.
    pub const fn tier(self) -> Tier {
        match self {
            Self::Notify => Tier::Notify,
            Self::Approve => Tier::Approve,
            Self::Halt => Tier::Halt,
        }
    }

    /// Reads `notify`, `approve` or `halt`.
    ///
    /// # Errors
    /// Any other word.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let all = [Self::Notify, Self::Approve, Self::Halt];
        word(text, &all.map(|one| (one.word(), one)))
    }
}

/// The last day of an approval, in UTC.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Day(Date);

impl Day {
    /// Parses `2027-03-31`.
    ///
    /// # Errors
    /// It is no such day.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let is_shaped = text.len() == "2027-03-31".len();
        text.parse().ok().filter(|_| is_shaped).map(Self).ok_or_else(|| {
            Fault::new(Code::BadDate, format!("`{text}` is no day"))
                .hint("write year, month and day: 2027-03-31")
        })
    }

    /// Whether the day has not begun at a time, in milliseconds since the epoch.
    pub fn is_ahead(self, now_ms: u64) -> bool {
        let begin = self.0.to_zoned(TimeZone::UTC);
        let begin_ms = begin.map_or(i64::MAX, |begin| begin.timestamp().as_millisecond());
        i64::try_from(now_ms).unwrap_or(i64::MAX) < begin_ms
    }

    /// Whether the day is over at a time, in milliseconds since the epoch.
    pub fn is_over(self, now_ms: u64) -> bool {
        let end = self.0.tomorrow().and_then(|day| day.to_zoned(TimeZone::UTC));
        let end_ms = end.map_or(i64::MAX, |end| end.timestamp().as_millisecond());
        i64::try_from(now_ms).unwrap_or(i64::MAX) >= end_ms
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The SHA-256 of a file: 64 hexadecimal digits in lower case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sha256(Arc<str>);

impl Sha256 {
    /// Parses 64 hexadecimal digits, with or without `sha256:` before them.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let is_digest =
            digits.len() == SHA256_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_digest {
            let message = format!("`{text}` is no SHA-256");
            let hint = "write its 64 hexadecimal digits, as `sha256sum FILE` prints them";
            return Err(Fault::new(Code::BadDigest, message).hint(hint));
        }
        Ok(Self(digits.to_ascii_lowercase().into()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The digest of a container image, with `sha256:` before it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageDigest(Arc<str>);

impl ImageDigest {
    /// Parses `sha256:` and 64 hexadecimal digits, with or without `NAME@` before it.
    ///
    /// # Errors
    /// It is something else, such as a tag, which whoever owns the registry may move.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let digest = text.rsplit_once('@').map_or(text, |(_, digest)| digest);
        let parsed = digest.starts_with("sha256:").then(|| Sha256::parse(digest).ok()).flatten();
        let Some(Sha256(digits)) = parsed else {
            let message = format!("`{text}` is no digest of an image");
            let hint = "write sha256:… as the registry or `docker inspect` tells it";
            return Err(Fault::new(Code::BadDigest, message).hint(hint));
        };
        Ok(Self(format!("sha256:{digits}").into()))
    }

    /// `sha256:` and the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A version, as the tag of an image says it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version(Arc<str>);

/// Longest tag of an image, in bytes (OCI distribution specification, "Pulling manifests").
const TAG_BYTES_MAX: usize = 128;

impl Version {
    /// Parses what a tag can be.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if text.is_empty() || text.len() > TAG_BYTES_MAX || !text.bytes().all(is_fine) {
            let message = format!("`{text}` is no version");
            let hint = "write it as the tag of the image does, in quotes: \"2.1.0\"";
            return Err(Fault::new(Code::BadWord, message).hint(hint));
        }
        Ok(Self(text.into()))
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_over_when_the_next_one_begins_in_utc() {
        let day = Day::parse("2026-11-21").unwrap();
        // 2026-11-22T00:00:00Z.
        const NEXT_MS: u64 = 1_795_305_600_000;
        assert!(!day.is_over(NEXT_MS - 1) && day.is_over(NEXT_MS));
        assert!(!Day::parse("9999-12-31").unwrap().is_over(NEXT_MS));
        let next = Day::parse("2026-11-22").unwrap();
        assert!(next.is_ahead(NEXT_MS - 1) && !next.is_ahead(NEXT_MS));
        for text in ["", "2026-11-31", "21.11.2026", "2026-11-21T00:00:00Z", "tomorrow"] {
            assert_eq!(Day::parse(text).unwrap_err().code, Code::BadDate, "{text}");
        }
    }

    #[test]
    fn a_digest_has_64_digits() {
        let digits = "0123456789abcdef".repeat(4);
        for text in [digits.clone(), format!("sha256:{}", digits.to_uppercase())] {
            assert_eq!(Sha256::parse(&text).unwrap().as_str(), digits);
        }
        for text in ["", "sha256:", &digits[1..], &format!("{digits}0"), &"x".repeat(64)] {
            assert_eq!(Sha256::parse(text).unwrap_err().code, Code::BadDigest, "{text}");
        }
    }

    #[test]
    fn an_image_is_named_by_its_digest_and_a_version_by_its_tag() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        for text in [digest.clone(), format!("ghcr.io/acme/bot:1.2@{}", digest)] {
            assert_eq!(ImageDigest::parse(&text).unwrap().as_str(), digest);
        }
        for text in ["", "ghcr.io/acme/bot:1.2", &digest[7..], "bot@", "bot@sha256:12"] {
            assert_eq!(ImageDigest::parse(text).unwrap_err().code, Code::BadDigest, "{text}");
        }
        assert_eq!(Version::parse("2.1.0-rc_1").unwrap().as_str(), "2.1.0-rc_1");
        for text in ["", "2 1", "v/1", &"1".repeat(TAG_BYTES_MAX + 1)] {
            assert_eq!(Version::parse(text).unwrap_err().code, Code::BadWord, "{text}");
        }
    }
}
