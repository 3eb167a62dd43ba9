//! How long records are to be kept.

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

    /// So many days: the longest that such a time has.
    pub const fn days(self) -> u32 {
        match self {
            Self::HalfYear => 184,
            Self::TwoYears => 731,
        }
    }
}
