//! Amounts of limits.

use super::Fault;
use crate::policy::diagnostic::Code;

/// Units of bytes, those of a thousand and those of 1,024.
const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];
/// Most of anything; far from where sums of two windows would not fit.
const AMOUNT_MAX: u64 = 1 << 60;

/// Parses how often: a number from 1.
///
/// # Errors
/// It is something else.
pub fn parse_count(text: &str) -> Result<u64, Fault> {
    amount(text, 1).ok_or_else(|| wrong(text, "write a number from 1, such as 600"))
}

/// Parses how many bytes, with or without a unit.
///
/// # Errors
/// It is something else.
pub fn parse_bytes(text: &str) -> Result<u64, Fault> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = match unit.trim_start() {
        "" => Some(1),
        unit => UNITS.iter().find(|(word, _)| *word == unit).map(|(_, bytes)| *bytes),
    };
    let parsed = unit.and_then(|unit| amount(digits, unit));
    parsed.ok_or_else(|| wrong(text, "write a number of bytes from 1, such as 500MB or 2GiB"))
}

fn amount(digits: &str, unit: u64) -> Option<u64> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number)?;
    number.checked_mul(unit).filter(|amount| (1..=AMOUNT_MAX).contains(amount))
}

fn wrong(text: &str, hint: &str) -> Fault {
    Fault::new(Code::BadAmount, format!("`{text}` is no amount")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_whole_numbers_from_1_with_units_of_bytes() {
        let rows = [
            ("1", Some(1)),
            ("600", Some(600)),
            ("0", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("", None),
            ("18446744073709551615", None),
        ];
        for (text, amount) in rows {
            assert_eq!(parse_count(text).ok(), amount, "{text}");
            assert_eq!(parse_bytes(text).ok(), amount, "{text}");
        }
        let rows = [
            ("500MB", Some(500_000_000)),
            ("2 GiB", Some(2 << 30)),
            ("1kB", Some(1_000)),
            ("1KB", None),
            ("GiB", None),
            ("0 B", None),
            ("2000000TiB", None),
        ];
        for (text, amount) in rows {
            assert_eq!(parse_bytes(text).ok(), amount, "{text}");
        }
    }
}
