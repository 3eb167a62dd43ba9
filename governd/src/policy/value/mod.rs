//! What the words in a document mean: each is parsed once into a type that cannot be wrong.

pub mod approval;
pub mod container;
pub mod group;
pub(crate) mod idn;
pub mod label;
pub mod limit;
pub mod local;
pub mod name;
pub mod network;
pub mod port;
pub mod process;
pub mod time;

mod fault;

pub use fault::Fault;

use governd_common::verdict::{Mode, Verdict};

use super::{diagnostic::Code, limits::MAIL_BYTES_MAX, words};

/// A destination of a rule.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub enum Target {
    /// A host name or wildcard.
    Name(name::HostPattern),
    /// A network; an address is one of full length.
    Network(network::Network),
}

impl Target {
    /// Parses a name, wildcard, address or network.
    ///
    /// # Errors
    /// What is wrong with it, and what was perhaps meant.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if network::looks_like_one(text) {
            return network::Network::parse(text).map(Self::Network);
        }
        name::HostPattern::parse(text).map(Self::Name)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Network(network) => network.fmt(f),
        }
    }
}

/// What happens to processes that are no registered agent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Posture {
    /// They are left alone; contact with AI endpoints is recorded.
    #[default]
    Monitor,
    /// AI endpoints are denied to them.
    DenyAi,
    /// Everything is denied to them.
    Deny,
}

impl Posture {
    /// The word in a document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::DenyAi => "deny-ai",
            Self::Deny => "deny",
        }
    }

    /// Reads `monitor`, `deny-ai` or `deny`.
    ///
    /// # Errors
    /// Any other word.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let all = [Self::Monitor, Self::DenyAi, Self::Deny];
        word(text, &all.map(|one| (one.word(), one)))
    }
}

/// What happens to processes that are no registered agent as long as user space has still to say
/// whether they are one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unclassified {
    /// They are as free as others that are not registered.
    #[default]
    Allow,
    /// AI endpoints are denied to them.
    DenyAi,
}

impl Unclassified {
    /// The word in a document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::DenyAi => "deny-ai",
        }
    }

    /// Reads `allow` or `deny-ai`.
    ///
    /// # Errors
    /// Any other word.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        word(text, &[Self::Allow, Self::DenyAi].map(|one| (one.word(), one)))
    }
}

/// What happens while the audit log cannot be written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFailure {
    /// The policy holds as ever; what is lost is counted.
    #[default]
    Continue,
    /// AI endpoints are denied to everybody.
    DenyAi,
}

impl LogFailure {
    /// The word in a document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::DenyAi => "deny-ai",
        }
    }

    /// Reads `continue` or `deny-ai`.
    ///
    /// # Errors
    /// Any other word.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        word(text, &[Self::Continue, Self::DenyAi].map(|one| (one.word(), one)))
    }
}

/// What a rule gives: how much the agent decides for itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tier {
    /// It is denied, and the agent quarantined.
    Halt,
    /// It is denied.
    Deny,
    /// It is denied until a person grants it, for a time.
    Approve,
    /// It is allowed, and the owner is told.
    Notify,
    /// It is allowed.
    Allow,
}

impl Tier {
    /// All of them, the strictest first.
    pub const ALL: [Self; 5] = [Self::Halt, Self::Deny, Self::Approve, Self::Notify, Self::Allow];

    /// The key of a rule's list in a document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Halt => "halt",
            Self::Deny => "deny",
            Self::Approve => "approve",
            Self::Notify => "notify",
            Self::Allow => "allow",
        }
    }

    /// What happens as long as nobody granted anything.
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Halt | Self::Deny | Self::Approve => Verdict::Deny,
            Self::Notify | Self::Allow => Verdict::Allow,
        }
    }

    /// The tier of a default, which only allows or denies.
    pub const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Allow => Self::Allow,
            Verdict::Deny => Self::Deny,
        }
    }

    /// Whether something may be reached by it, now or once it is granted.
    pub const fn opens(self) -> bool {
        matches!(self, Self::Approve | Self::Notify | Self::Allow)
    }
}

/// What proves the name of a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Verify {
    /// DNS gave the address to the name, and the first bytes name it.
    #[default]
    Both,
    /// The first bytes name it.
    Sni,
    /// DNS gave the address to the name.
    Dns,
}

impl Verify {
    /// The word in a document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Sni => "sni",
            Self::Dns => "dns",
        }
    }

    /// Reads `both`, `sni` or `dns`.
    ///
    /// # Errors
    /// Any other word.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        word(text, &[Self::Both, Self::Sni, Self::Dns].map(|one| (one.word(), one)))
    }
}

/// Which names an agent may ask DNS for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Questions {
    /// Those that one of its rules allows.
    Restrict,
    /// Every name.
    Any,
}

impl Questions {
    /// The word in a document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Restrict => "restrict",
            Self::Any => "any",
        }
    }

    /// Reads `restrict` or `any`.
    ///
    /// # Errors
    /// Any other word.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        word(text, &[Self::Restrict, Self::Any].map(|one| (one.word(), one)))
    }
}

/// What holds for an agent that another one starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delegation {
    /// The policies of both.
    Intersection,
    /// That of the one that is started, if both say so.
    Own,
}

impl Delegation {
    /// The word in a document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Intersection => "intersection",
            Self::Own => "own",
        }
    }

    /// Reads `intersection` or `own`.
    ///
    /// # Errors
    /// Any other word.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        word(text, &[Self::Intersection, Self::Own].map(|one| (one.word(), one)))
    }
}

/// The word of a mode in a document.
pub const fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Monitor => "monitor",
        Mode::Enforce => "enforce",
    }
}

/// Reads `monitor` or `enforce`.
///
/// # Errors
/// Any other word.
pub fn parse_mode(text: &str) -> Result<Mode, Fault> {
    word(text, &[Mode::Monitor, Mode::Enforce].map(|one| (mode_word(one), one)))
}

/// The word of a verdict in a document.
pub const fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    }
}

/// Reads `allow` or `deny`.
///
/// # Errors
/// Any other word.
pub fn parse_verdict(text: &str) -> Result<Verdict, Fault> {
    word(text, &[Verdict::Allow, Verdict::Deny].map(|one| (verdict_word(one), one)))
}

/// One of several words.
pub(super) fn word<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_, value)) = known.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let all: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
    let hint = match words::nearest(text, &all) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it is one of {}", words::list(&all)),
    };
    Err(Fault::new(Code::BadWord, format!("`{text}` means nothing here")).hint(hint))
}

/// What addresses of services begin with.
const SERVICE_WORDS: &[&str] = &[
    "admin",
    "administrator",
    "bot",
    "daemon",
    "do-not-reply",
    "donotreply",
    "no-reply",
    "noreply",
    "nobody",
    "postmaster",
    "robot",
    "root",
    "service",
    "svc",
    "system",
];

/// A mail address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mail(Box<str>);

impl Mail {
    /// Parses `local@domain`; only what cannot be an address is refused.
    ///
    /// # Errors
    /// Text that is no address.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let refuse = |why: &str| {
            Err(Fault::new(Code::BadMail, format!("`{text}` is not a mail address: {why}"))
                .hint("write it like dana@acme.example"))
        };
        if text.len() > MAIL_BYTES_MAX {
            return refuse("it is too long");
        }
        let Some((local, domain)) = text.rsplit_once('@') else {
            return refuse("it has no `@`");
        };
        if local.is_empty() || domain.is_empty() || local.contains('@') {
            return refuse("it needs text on both sides of one `@`");
        }
        if text.chars().any(|one| one.is_whitespace() || matches!(one, '<' | '>' | ',')) {
            return refuse("it is one address without a name");
        }
        Ok(Self(text.into()))
    }

    /// Whether it is plainly a service's, by what stands before the `@`.
    pub fn is_service(&self) -> bool {
        let local = self.0.split('@').next().unwrap_or_default().to_ascii_lowercase();
        let first = local.split(['-', '_', '.', '+']).next().unwrap_or_default();
        SERVICE_WORDS.contains(&first) || SERVICE_WORDS.contains(&local.as_str())
    }

    /// Whether no mail can ever reach it: nobody gets a name below `invalid` (RFC 2606 section 2).
    pub fn is_nobodys(&self) -> bool {
        let last = self.0.trim_end_matches('.').rsplit(['.', '@']).next();
        last.is_some_and(|label| label.eq_ignore_ascii_case("invalid"))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
