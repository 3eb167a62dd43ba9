//! How long records are to be kept, and since when they are.

use crate::audit::verify::number;

/// As a record's line has it.
const LOGGED: &str = "\"logged_time\":";

/// How long a record is to be kept at least.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Retention {
    /// What agents do.
    HalfYear,
    /// What people and governd do, what was found and what was lost: who looks at what agents did
    /// has to know under which policy it was, and what is missing.
    TwoYears,
}

impl Retention {
    /// All of them, the shortest first.
    pub const ALL: [Self; 2] = [Self::HalfYear, Self::TwoYears];

    /// The word in records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::HalfYear => "6-months",
            Self::TwoYears => "24-months",
        }
    }

    /// As a record's line has it. Such bytes cannot stand inside a JSON string, where the quotes
    /// would be escaped.
    pub fn said(self) -> String {
        format!("\"retention\":\"{}\"", self.word())
    }

    /// The longest that one of some lines says.
    pub fn longest(lines: &str) -> Self {
        let is_longer = lines.contains(&Self::TwoYears.said());
        if is_longer { Self::TwoYears } else { Self::HalfYear }
    }

    /// So many days: the longest that such a time has.
    pub const fn days(self) -> u32 {
        match self {
            Self::HalfYear => 184,
            Self::TwoYears => 731,
        }
    }
}

/// When a record was logged, as its line says, in milliseconds since 1970.
pub fn logged_ms(line: &[u8]) -> Option<u64> {
    number(line, LOGGED)
}
