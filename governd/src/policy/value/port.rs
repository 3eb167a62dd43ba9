//! Ports and protocols.

use std::{borrow::Cow, fmt};

use super::{Fault, word};
use crate::policy::diagnostic::Code;

/// A range of ports, both ends included, neither of them 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, Ord, PartialOrd)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// Every port, 0 included: what a rule without ports is about.
    pub const EVERY: Self = Self { first: 0, last: u16::MAX };

    /// One port.
    pub(in crate::policy) const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Parses `443` or `8000-8100`.
    ///
    /// # Errors
    /// What is wrong with it, and what was perhaps meant.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(text, first.trim())?, port(text, last.trim())?),
            None => {
                let only = port(text, text)?;
                (only, only)
            }
        };
        if first > last {
            let message = format!("the range `{text}` ends before it begins");
            let hint = format!("write \"{last}-{first}\"");
            return Err(Fault::new(Code::BadPort, message).hint(hint));
        }
        Ok(Self { first, last })
    }

    /// Parses one port.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_one(text: &str) -> Result<u16, Fault> {
        port(text, text)
    }

    /// First port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// Last port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// Ports that are in both lists; `None` is every port.
    pub(crate) fn common(a: Option<&[Self]>, b: Option<&[Self]>) -> Option<Vec<Self>> {
        let (Some(a), Some(b)) = (a, b) else {
            return a.or(b).map(<[Self]>::to_vec);
        };
        let pairs = a.iter().flat_map(|one| b.iter().map(move |other| (one, other)));
        let both = pairs.map(|(one, other)| Self {
            first: one.first.max(other.first),
            last: one.last.min(other.last),
        });
        Some(Self::merge(both.filter(|ports| ports.first <= ports.last).collect()))
    }

    /// Sorts, and joins what overlaps or touches.
    pub(crate) fn merge(mut ranges: Vec<Self>) -> Vec<Self> {
        ranges.sort_unstable();
        let mut merged: Vec<Self> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(before) if u32::from(range.first) <= u32::from(before.last) + 1 => {
                    before.last = before.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        merged
    }
}

fn port(text: &str, number: &str) -> Result<u16, Fault> {
    let refuse = |why: &str, hint: &str| {
        Err(Fault::new(Code::BadPort, format!("`{text}` {why}")).hint(hint))
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match number.parse::<u16>() {
        Ok(0) => refuse("has port 0, which nothing listens on", "leave `ports` out for every port"),
        Ok(port) if is_number => Ok(port),
        _ if is_number => refuse("is larger than 65535", "ports go from 1 to 65535"),
        _ => refuse("is not a port", "write a number such as 443, or a range \"8000-8100\""),
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

/// The transport that a rule is about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub enum Protocol {
    /// Every protocol.
    #[default]
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Reads `tcp`, `udp` or `any`.
    ///
    /// # Errors
    /// Any other word.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        word(text, &[Self::Tcp, Self::Udp, Self::Any].map(|one| (one.word(), one)))
    }

    /// The word in a document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// IP protocol number; 0 is any.
    pub const fn number(self) -> u8 {
        match self {
            Self::Any => 0,
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// An IP protocol number in a sentence: the word where rules have one, or else the number.
    pub fn in_words(number: u8) -> Cow<'static, str> {
        match [Self::Tcp, Self::Udp].into_iter().find(|one| one.number() == number) {
            Some(known) => known.word().into(),
            None => number.to_string().into(),
        }
    }
}
