//! What is wrong with a policy, for the people who wrote it: where, what, and what to do.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{limits::DIAGNOSTICS_MAX, yaml::deceives};

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident => $word:literal,)*) => {
        /// The kind of a diagnostic. Its word is stable: scripts may match on it.
        #[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
        pub enum Code { $($(#[$meta])* $variant,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in `error[word]`.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

codes! {
    /// Two agents could claim one process and nothing orders them.
    AmbiguousMatch => "ambiguous-match",
    /// NUL, another control character, or one that changes the direction of text.
    BadCharacter => "bad-character",
    /// An amount of a limit that cannot be one.
    BadAmount => "bad-amount",
    /// A path of a cgroup that cannot be one.
    BadCgroup => "bad-cgroup",
    /// A day that cannot be one.
    BadDate => "bad-date",
    /// A digest that cannot be one.
    BadDigest => "bad-digest",
    /// A path of an executable that cannot be one.
    BadExecutable => "bad-executable",
    /// A path of a script that cannot be one.
    BadScript => "bad-script",
    /// An address of a local socket that cannot be one, or that would be another one.
    BadSocket => "bad-socket",
    /// A file in which a host says what it is, and that cannot be read.
    BadHostFile => "bad-host-file",
    /// A reference of an image that cannot be one.
    BadImage => "bad-image",
    /// A label or an environment that cannot be one.
    BadLabel => "bad-label",
    /// A mail address that cannot be one.
    BadMail => "bad-mail",
    /// A name of an agent, policy, user or person that cannot be one.
    BadName => "bad-name",
    /// An address or network that cannot be one.
    BadNetwork => "bad-network",
    /// A host name or wildcard that cannot be one.
    BadPattern => "bad-pattern",
    /// A port or port range that cannot be one.
    BadPort => "bad-port",
    /// A word that is not one of those the field knows.
    BadWord => "bad-word",
    /// Two policies of this name, or two host policies for one host.
    Duplicate => "duplicate",
    /// A list that is empty, and so matches nothing.
    EmptyList => "empty-list",
    /// A match that says nothing.
    EmptyMatch => "empty-match",
    /// Groups that include each other in a circle.
    GroupCycle => "group-cycle",
    /// An approval whose last day is over.
    ExpiredApproval => "expired-approval",
    /// An address with bits set after its prefix.
    HostBits => "host-bits",
    /// More than the kernel's tables or the daemon's limits hold.
    Limit => "limit",
    /// A field that has to be there.
    MissingField => "missing-field",
    /// A name with letters of alphabets that look alike.
    MixedScript => "mixed-script",
    /// A mail address that reaches nobody.
    NobodysMail => "nobodys-mail",
    /// A sponsor that is no person.
    NotAPerson => "not-a-person",
    /// Nobody is said to have approved an agent.
    NoApproval => "no-approval",
    /// An approval of a day that is still to come, or of a review before the approval.
    OddApproval => "odd-approval",
    /// No owner: nobody to ask.
    MissingOwner => "missing-owner",
    /// An executable that is not on this host.
    NoExecutable => "no-executable",
    /// A script that is not on this host.
    NoScript => "no-script",
    /// An executable that is a script, so that nothing is recognised by it.
    ScriptExecutable => "script-executable",
    /// A wildcard on a suffix below which anybody can register.
    PublicSuffix => "public-suffix",
    /// A rule that never decides, or a limit that is never reached.
    ShadowedRule => "shadowed-rule",
    /// A wildcard on a domain below which strangers have names.
    SharedDomain => "shared-domain",
    /// A file that is too large.
    TooLarge => "too-large",
    /// Names that would be allowed, and may not be asked for.
    Unaskable => "unaskable",
    /// A file that cannot be read.
    Unreadable => "unreadable",
    /// A field that does not exist.
    UnknownField => "unknown-field",
    /// A group that neither a document nor the catalogue has.
    UnknownGroup => "unknown-group",
    /// An `apiVersion` or `kind` that does not exist.
    UnknownKind => "unknown-kind",
    /// A user that is not on this host.
    UnknownUser => "unknown-user",
    /// An address that is denied with less weight than a name is allowed.
    WeakDenial => "weak-denial",
    /// `delegation: own` that has no effect.
    IdleDelegation => "idle-delegation",
    /// Agents that are recognised only where one of them runs already.
    ParentCycle => "parent-cycle",
    /// A parent that no document describes.
    UnknownParent => "unknown-parent",
    /// A value of the wrong type.
    WrongType => "wrong-type",
    /// Text that is not YAML, or YAML that is refused here.
    Yaml => "yaml",
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// The policy is not used.
    Error,
    /// The policy is used, and does perhaps not do what was meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A position in a file; lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct Place {
    /// The file's path, as it was given.
    pub file: Arc<str>,
    /// Line, or 0 for the file as a whole.
    pub line: u32,
    /// Column, or 0 for the line as a whole.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column } = self;
        match (line, column) {
            (0, _) => write!(f, "{file}"),
            (_, 0) => write!(f, "{file}:{line}"),
            _ => write!(f, "{file}:{line}:{column}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostic {
    /// What kind.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// What, in one line.
    pub message: String,
    /// Where; `None` if it is no place's fault.
    pub place: Option<Place>,
    /// What to do.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: Code, place: &Place, message: impl Into<String>) -> Self {
        let (place, message) = (Some(place.clone()), printable(message.into()));
        Self { code, severity: Severity::Error, message, place, hint: None }
    }

    /// A warning.
    pub fn warning(code: Code, place: &Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, place, message) }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(printable(hint.into()));
        self
    }
}

/// Text of the policy is quoted in messages: what could deceive a terminal is escaped.
fn printable(text: String) -> String {
    if !text.chars().any(deceives) {
        return text;
    }
    let escape = |one: char| match one {
        '\t' | '\n' => " ".to_owned(),
        one if deceives(one) => one.escape_unicode().to_string(),
        one => one.to_string(),
    };
    text.chars().map(escape).collect()
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, severity, message, place, hint } = self;
        if let Some(place) = place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}[{}]: {message}", severity.word(), code.word())?;
        if let Some(hint) = hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { code, severity, message, place, hint } = self;
        let mut out = serializer.serialize_struct("Diagnostic", 7)?;
        out.serialize_field("severity", severity.word())?;
        out.serialize_field("code", code.word())?;
        out.serialize_field("message", message)?;
        out.serialize_field("file", &place.as_ref().map(|place| &*place.file))?;
        out.serialize_field("line", &place.as_ref().map(|place| place.line))?;
        out.serialize_field("column", &place.as_ref().map(|place| place.column))?;
        out.serialize_field("hint", hint)?;
        out.end()
    }
}

/// Several things that are wrong, in the order in which they were found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    errors: usize,
    dropped: usize,
}

impl Diagnostics {
    /// Adds one; after [`DIAGNOSTICS_MAX`] they are counted only.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if self.list.len() < DIAGNOSTICS_MAX {
            self.list.push(diagnostic);
        } else {
            self.dropped += 1;
        }
    }

    /// Adds those of another list.
    pub fn extend(&mut self, other: Self) {
        let Self { list, errors, dropped } = other;
        let kept = list.iter().filter(|one| one.severity == Severity::Error).count();
        list.into_iter().for_each(|diagnostic| self.push(diagnostic));
        self.errors += errors - kept;
        self.dropped += dropped;
    }

    /// Those that are kept, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// True if nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Number of errors, those that were not kept included.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Number of warnings, those that were not kept included.
    pub fn warnings(&self) -> usize {
        self.list.len() + self.dropped - self.errors
    }

    /// True if there is at least one error.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The value together with the warnings if there is no error, else everything that is wrong.
    ///
    /// # Errors
    /// The list itself, if one of its diagnostics is an error.
    pub(crate) fn unless_errors<T>(self, value: T) -> Result<(T, Self), Self> {
        if self.has_errors() { Err(self) } else { Ok((value, self)) }
    }

    /// Sorts by file, line and column, so that the order of the files on disk does not show.
    pub(crate) fn sort(&mut self) {
        self.list.sort_by(|a, b| a.place.cmp(&b.place));
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            let end = if index > 0 { "\n" } else { "" };
            write!(f, "{end}{diagnostic}")?;
        }
        if self.dropped > 0 {
            write!(f, "\nand {} more", self.dropped)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl Serialize for Diagnostics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.list)
    }
}
