//! When certificates end. What nobody renews stops a sink or a host years later, at a moment that
//! nobody remembers, so it is said beforehand.

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// How long before the end it is said, in seconds: 30 days.
pub const LEAD_S: u64 = 30 * DAY_S;
/// How often it is said again, in seconds.
pub const AGAIN_S: u64 = DAY_S;
const DAY_S: u64 = 86_400;

// Tags (X.690, 8.1.2).
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The certificate's version, which the first one leaves out.
const VERSION: u8 = 0xa0;
/// Whether a length is in the bytes that follow, and how many those are at most.
const LONG_FORM: u8 = 0x80;
const LENGTH_BYTES_MAX: usize = 4;
/// From this year on in two digits, it is one of the last century (RFC 5280, 4.1.2.5.1).
const LAST_CENTURY: i16 = 50;

/// Whose certificate it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Whose {
    /// The authority of the sink, which hosts know it by.
    Authority,
    /// The authority that is to replace it.
    NextAuthority,
    /// The sink, as hosts reach it.
    Server,
    /// The host.
    Host,
}

impl Whose {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::NextAuthority => "next-authority",
            Self::Server => "server",
            Self::Host => "host",
        }
    }

    const fn named(self) -> &'static str {
        match self {
            Self::Authority => "the sink's authority",
            Self::NextAuthority => "the sink's next authority",
            Self::Server => "the sink's certificate",
            Self::Host => "this host's certificate for the sink",
        }
    }

    /// What to do before.
    const fn advice(self) -> &'static str {
        match self {
            Self::Authority => "replace it with `governd sink rotate-keys`",
            Self::NextAuthority => "finish the change with `governd sink rotate-keys --finish`",
            Self::Server => "make another with `governd sink certify`, and start the sink again",
            Self::Host => "it renews itself where it reaches the sink; else enroll again",
        }
    }
}

/// When a certificate ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct End {
    /// Whose it is.
    pub whose: Whose,
    /// In seconds since 1970.
    pub at_s: u64,
}

impl End {
    /// Of the first certificate in a text, where there is one that can be read.
    pub fn of_pem(whose: Whose, pem: &str) -> Option<Self> {
        Self::of(whose, &CertificateDer::from_pem_slice(pem.as_bytes()).ok()?)
    }

    /// Of a certificate that can be read.
    pub fn of(whose: Whose, certificate: &[u8]) -> Option<Self> {
        Some(Self { whose, at_s: not_after(certificate)? })
    }

    /// How long it is valid still.
    pub const fn left_s(self, now_s: u64) -> u64 {
        self.at_s.saturating_sub(now_s)
    }

    /// What to say of it, once its end is near.
    pub fn warning(self, now_s: u64) -> Option<String> {
        let left_s = self.left_s(now_s);
        let time =
            i64::try_from(self.at_s).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
        let time = time.map_or_else(String::new, |time| format!(", at {time}"));
        let (name, advice) = (self.whose.named(), self.whose.advice());
        match left_s {
            0 => Some(format!("{name} has ended{time}: {advice}")),
            1..LEAD_S => Some(format!("{name} ends in {} days{time}: {advice}", left_s / DAY_S)),
            LEAD_S.. => None,
        }
    }
}

/// What stands in a value with a tag, and what is behind it.
fn take(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match length {
        0..LONG_FORM => (usize::from(length), rest),
        _ => {
            let count = usize::from(length & !LONG_FORM);
            let (length, rest) = rest.split_at_checked(count)?;
            let is_short = (1..=LENGTH_BYTES_MAX).contains(&count);
            let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (is_short.then_some(length)?, rest)
        }
    };
    if tag == wanted { rest.split_at_checked(length) } else { None }
}

/// When a certificate ends, in seconds since 1970 (RFC 5280, 4.1).
fn not_after(certificate: &[u8]) -> Option<u64> {
    let (certificate, _) = take(certificate, SEQUENCE)?;
    let (signed, _) = take(certificate, SEQUENCE)?;
    let signed = take(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_serial, signed) = take(signed, INTEGER)?;
    let (_algorithm, signed) = take(signed, SEQUENCE)?;
    let (_issuer, signed) = take(signed, SEQUENCE)?;
    let (validity, _) = take(signed, SEQUENCE)?;
    let of_any = |bytes| {
        let short = take(bytes, UTC_TIME).map(|(text, rest)| (text, rest, true));
        short.or_else(|| take(bytes, GENERALIZED_TIME).map(|(text, rest)| (text, rest, false)))
    };
    let (_not_before, rest, _) = of_any(validity)?;
    let (text, _, is_short) = of_any(rest)?;
    time(text, is_short)
}

/// `YYMMDDhhmmssZ`, or the same with a whole year.
fn time(text: &[u8], is_short: bool) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<i16>().ok();
    let (year, rest) = digits.split_at_checked(if is_short { 2 } else { 4 })?;
    let year = match number(year)? {
        year @ LAST_CENTURY.. if is_short => 1_900 + year,
        year if is_short => 2_000 + year,
        year => year,
    };
    let (pairs, none) = rest.as_chunks::<2>();
    let parts: Vec<i8> =
        pairs.iter().map(|pair| number(pair)?.try_into().ok()).collect::<Option<_>>()?;
    let ([month, day, hour, minute, second], []) = (parts.as_slice(), none) else {
        return None;
    };
    let date = jiff::civil::DateTime::new(year, *month, *day, *hour, *minute, *second, 0).ok()?;
    let time = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    time.timestamp().as_second().try_into().ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut parameters = CertificateParams::default();
        parameters.not_after = date_time_ymd(year, month, day);
        let made = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        made.der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_read_whichever_form_its_time_has() {
        let rows = [
            ((2026, 12, 24), 1_798_070_400),
            ((2049, 12, 31), 2_524_521_600),
            // From here on years have four digits.
            ((2050, 1, 1), 2_524_608_000),
            ((2150, 2, 28), 5_685_292_800),
            ((1999, 7, 4), 931_046_400),
        ];
        for ((year, month, day), want) in rows {
            let made = certificate(year, month, day);
            let end = End::of(Whose::Server, &made);
            assert_eq!(end, Some(End { whose: Whose::Server, at_s: want }), "{year}");
            // What is cut is none, and nothing else happens.
            for length in 0..made.len().min(150) {
                assert_eq!(End::of(Whose::Server, &made[..length]), None);
            }
        }
        assert_eq!(End::of(Whose::Server, b"\x30\x84\xff\xff\xff\xff"), None);
        assert_eq!(End::of_pem(Whose::Server, "nothing"), None);
        for text in ["9913010000000Z", "991301000000Z", "990732000000Z", "99070100000", "aa"] {
            assert_eq!(time(text.as_bytes(), true), None, "{text}");
        }
    }

    #[test]
    fn it_is_said_from_a_month_before() {
        let end = End { whose: Whose::Server, at_s: 1_798_070_400 };
        let said = |left_s: u64| end.warning(end.at_s - left_s);
        assert_eq!(said(LEAD_S), None);
        let advice = "make another with `governd sink certify`, and start the sink again";
        let at = "2026-12-24T00:00:00Z";
        let want = format!("the sink's certificate ends in 29 days, at {at}: {advice}");
        assert_eq!(said(LEAD_S - 1), Some(want));
        let want = format!("the sink's certificate has ended, at {at}: {advice}");
        assert_eq!(said(0), Some(want.clone()));
        assert_eq!(end.warning(end.at_s + 9), Some(want));
    }
}
