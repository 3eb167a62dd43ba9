//! What a record says of a person: user names and command lines. They stand beside the record, so
//! that they can be erased, and in the record stands a salted digest of each. Without the salt,
//! which is erased with the value, nobody can try which value a digest is of.
//!
//! A line with its values in place is what people and receivers get to see; a line as it is hashed
//! never has them.

use std::{
    fmt::{self, Display, Formatter},
    ops::Range,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64},
};
use serde_json::Value as Json;

use super::{Actor, Control, Record, fit, redact};
use crate::audit::{
    canonical::{self, Plain, Shown},
    tree::{HASH_BYTES, Hash, sha256},
};

/// Bytes of a salt.
pub const SALT_BYTES: usize = 16;
/// What is shown where a value was erased.
pub const ERASED: &str = "[erased]";
/// Longest value in canonical JSON, in bytes; a longer one is cut and says so.
pub const VALUE_BYTES_MAX: usize = 4_096;

/// Kind of a value: a user's name.
pub const USER: &str = "user";
/// Kind of a value: a command line.
pub const COMMAND_LINE: &str = "cmd_line";

const PREFIX: &str = "salted:";
const DIGEST_CHARS: usize = (HASH_BYTES * 8).div_ceil(6);
/// In front of every digest in a line. Neither can stand inside a JSON string, where the quotes
/// would be escaped, and no other object has a user that begins so.
const PLACES: [&str; 2] = ["\"cmd_line\":\"salted:", "\"user\":{\"name\":\"salted:"];

/// A salted digest: SHA-256 over the salt and the value.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Token(Hash);

impl Token {
    /// Of a value.
    pub fn of(salt: &[u8; SALT_BYTES], value: &str) -> Self {
        Self(sha256(&[salt, value.as_bytes()]))
    }

    /// From the text in a record.
    pub fn parse(text: &str) -> Option<Self> {
        let digest = BASE64.decode(text.strip_prefix(PREFIX)?).ok()?;
        Some(Self(digest.try_into().ok()?))
    }

    /// The digest.
    pub const fn digest(&self) -> &Hash {
        &self.0
    }
}

impl Display for Token {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut text = [0; DIGEST_CHARS];
        // The room is what the digest needs.
        BASE64.encode_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(PREFIX)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// What stands in a record for the values that it is about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tokens {
    /// For the user's name.
    pub user: Option<Token>,
    /// For the command line.
    pub command_line: Option<Token>,
}

/// The values that a record is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Values<'a> {
    /// Name of the user.
    pub user: Option<&'a str>,
    /// Its arguments, as they were read.
    pub args: Option<&'a [String]>,
}

impl Values<'_> {
    /// Writes the command line, redacted, in place of what a text has; whether there is one.
    pub fn write_command_line(&self, into: &mut String) -> bool {
        into.clear();
        let Some(args) = self.args else { return false };
        fmt::Write::write_fmt(into, format_args!("{}", redact::CommandLine(args)))
            .unwrap_or_default();
        fit::cut_text(into, VALUE_BYTES_MAX);
        true
    }
}

/// A value and what it is needed for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Value {
    /// `user` or `cmd_line`.
    pub kind: String,
    /// When its first record was logged, in milliseconds since the epoch.
    pub logged_ms: u64,
    /// In base64.
    pub salt: String,
    /// The value itself.
    pub text: String,
    /// Whose it is, where that is known by name.
    pub user: Option<String>,
}

impl Value {
    /// From its line.
    pub fn parse(line: &str) -> Option<Self> {
        let mut json: Json = serde_json::from_str(line).ok()?;
        let logged_ms = json.get("logged_ms")?.as_u64()?;
        let mut text = |name: &str| match json.get_mut(name).map(Json::take) {
            Some(Json::String(text)) => Some(text),
            _ => None,
        };
        let user = text("user");
        Some(Self {
            kind: text("kind")?,
            logged_ms,
            salt: text("salt")?,
            text: text("text")?,
            user,
        })
    }

    /// Appends its line.
    pub fn write(&self, out: &mut String) {
        let Self { kind, logged_ms, salt, text, user } = self;
        write_value(out, kind, *logged_ms, salt.as_str(), text, user.as_deref());
    }

    /// What stands for it in records; `None` if its salt is none.
    pub fn token(&self) -> Option<Token> {
        let salt: [u8; SALT_BYTES] = STANDARD.decode(&self.salt).ok()?.try_into().ok()?;
        Some(Token::of(&salt, &self.text))
    }
}

/// Appends the line of a value, whose salt is in base64.
pub fn write_value(
    out: &mut String,
    kind: &str,
    logged_ms: u64,
    salt: impl Plain,
    text: &str,
    user: Option<&str>,
) {
    canonical::object(out, |o| {
        o.with("kind", kind)
            .with("logged_ms", logged_ms)
            .with("salt", salt)
            .with("text", text)
            .maybe("user", user);
    });
    out.push('\n');
}

/// Which values are erased: those for which all of it holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Erasure {
    /// Of this user.
    pub user: Option<String>,
    /// Of records that were logged before this time, in milliseconds since the epoch.
    pub before_ms: Option<u64>,
}

impl Erasure {
    /// Whether a value is erased.
    pub fn is_meant(&self, value: &Value) -> bool {
        let user = self.user.as_deref();
        user.is_none_or(|user| value.user.as_deref() == Some(user))
            && self.before_ms.is_none_or(|before| value.logged_ms < before)
    }
}

impl Record {
    /// The values that stand beside this record.
    pub fn values(&self) -> Values<'_> {
        let (by, actor) = match self {
            Self::Control(Control { by, actor, .. })
            | Self::Rotation(Control { by, actor, .. }, _) => (by.as_ref(), actor.as_ref()),
            Self::Flow(flow) => (None, Some(&flow.actor)),
            Self::Repeated(repeated) => (None, Some(&repeated.flow.actor)),
            Self::Dns(answer) => (None, answer.actor.as_ref()),
            Self::Query(query) => (None, Some(&query.flow.actor)),
            Self::Exec(exec) => (None, Some(&exec.actor)),
            Self::Finding(finding) => (None, finding.actor.as_ref()),
            Self::Policy(_) | Self::Lifecycle(_) | Self::Loss(_) | Self::Deleted(_) => (None, None),
        };
        // A record about what somebody did names that person, and not the process.
        match (by, actor) {
            (Some(by), _) => Values { user: by.name.as_deref(), args: None },
            (None, Some(Actor { process, .. })) => {
                Values { user: process.user.as_deref(), args: process.args.as_deref() }
            }
            (None, None) => Values::default(),
        }
    }
}

impl Plain for Token {
    fn write(&self, out: &mut String) {
        Shown(self).write(out);
    }
}

/// The digests in a line, and where each stands.
pub fn tokens(line: &str) -> impl Iterator<Item = (Range<usize>, Token)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = line.get(at..)?;
            let found = PLACES.iter().filter_map(|place| Some((rest.find(place)?, place.len())));
            let (begin, len) = found.min()?;
            let start = at + begin + len - PREFIX.len();
            let end = start + PREFIX.len() + DIGEST_CHARS;
            at = start + PREFIX.len();
            if let Some(token) = line.get(start..end).and_then(Token::parse)
                && line.get(end..).is_some_and(|behind| behind.starts_with('"'))
            {
                return Some((start..end, token));
            }
        }
    })
}

/// A line with the values that a digest is known to be of in their places.
pub fn plain<'v>(line: &str, value: impl Fn(&Token) -> Option<&'v str>) -> String {
    let (mut shown, mut at) = (String::with_capacity(line.len()), 0);
    for (place, token) in tokens(line) {
        shown.push_str(line.get(at..place.start).unwrap_or_default());
        canonical::write_escaped(&mut shown, value(&token).unwrap_or(ERASED));
        at = place.end;
    }
    shown.push_str(line.get(at..).unwrap_or_default());
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; SALT_BYTES] = [7; SALT_BYTES];

    #[test]
    fn digests_are_found_only_where_records_have_them() {
        let (user, line) = (Token::of(&SALT, "dana"), Token::of(&SALT, "sh -c \"x\""));
        assert_eq!(Token::parse(&user.to_string()), Some(user));
        assert_ne!(user, Token::of(&[8; SALT_BYTES], "dana"));
        let text = format!(
            "{{\"cmd_line\":\"{line}\",\"file\":{{\"name\":\"{user}\"}},\
             \"message\":\"\\\"cmd_line\\\":\\\"{user}\\\"\",\"name\":\"{user}\",\
             \"user\":{{\"name\":\"{user}\",\"uid\":\"1\"}}}}"
        );
        let found: Vec<Token> = tokens(&text).map(|(_, token)| token).collect();
        assert_eq!(found, [line, user]);
        let shown = plain(&text, |token| (*token == line).then_some("sh -c \"x\""));
        assert!(shown.starts_with("{\"cmd_line\":\"sh -c \\\"x\\\"\","), "{shown}");
        assert!(shown.ends_with("\"user\":{\"name\":\"[erased]\",\"uid\":\"1\"}}"), "{shown}");
        // What is no digest stays as it is, as do lines from before there were any.
        for other in ["{\"cmd_line\":\"salted:x\"}", "{\"cmd_line\":\"python3 -m bot\"}"] {
            assert_eq!(plain(other, |_| None), other);
        }
    }
}
