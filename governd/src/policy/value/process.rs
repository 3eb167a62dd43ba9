//! What processes are recognised by.

use std::path::Path;

use super::{Fault, name::glob_matches};
use crate::policy::{diagnostic::Code, limits::PATH_BYTES_MAX};

/// Path of an executable: absolute and without `..`.
#[derive(Clone, Debug, Eq, PartialEq, Hash, Ord, PartialOrd)]
pub struct Executable(Box<str>);

impl Executable {
    /// Parses `/usr/bin/agent`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let refuse = |why: &str, hint: &str| {
            Err(Fault::new(Code::BadExecutable, format!("`{text}` {why}")).hint(hint))
        };
        if !text.starts_with('/') {
            let hint = "write the whole path, such as /usr/bin/agent; `command -v` tells it";
            return refuse("is not an absolute path", hint);
        }
        if text.contains('*') {
            return refuse("has a `*`", "name each executable, or match by user or cgroup");
        }
        if text.ends_with('/') || text.len() > PATH_BYTES_MAX {
            return refuse("is not a path of a file", "name the executable itself");
        }
        let components = text.split('/').skip(1);
        if components.clone().any(|one| matches!(one, "" | "." | "..")) {
            return refuse("has `//`, `.` or `..` in it", "write the path without them");
        }
        Ok(Self(text.into()))
    }

    /// The path.
    pub fn path(&self) -> &Path {
        Path::new(&*self.0)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Path of a script, or of the file that a module begins with: absolute and without `..`.
#[derive(Clone, Debug, Eq, PartialEq, Hash, Ord, PartialOrd)]
pub struct Script(Executable);

impl Script {
    /// Parses `/opt/agent/main.py`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        Executable::parse(text).map(Self).map_err(|fault| Fault {
            code: Code::BadScript,
            hint: Some("write the whole path of one file, such as /opt/agent/main.py".into()),
            ..fault
        })
    }

    /// The path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// A user, by name or number.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub enum User {
    /// Number; never the one that stands for "no change" (`(uid_t) -1`).
    Id(u32),
    /// Name.
    Name(Box<str>),
}

impl User {
    /// Parses `svc-invoice` or `1000`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let refuse = |why: &str| {
            Err(Fault::new(Code::BadName, format!("`{text}` is not a user: {why}"))
                .hint("write a user name such as svc-invoice, or a number"))
        };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse::<u32>() {
                Ok(id) if id != u32::MAX => Ok(Self::Id(id)),
                _ => refuse("no such number"),
            };
        }
        let is_fine = |one: char| !one.is_whitespace() && !matches!(one, ':' | '/' | ',' | '*');
        if text.is_empty() || text.starts_with('-') || text.len() > 255 {
            return refuse("no such name");
        }
        if !text.chars().all(is_fine) {
            return refuse("it has characters that no user name has");
        }
        Ok(Self::Name(text.into()))
    }
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// A cgroup and everything below it; `*` matches within one component.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Cgroup(Box<str>);

impl Cgroup {
    /// Parses `/system.slice/invoice-bot.service`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let refuse = |why: &str, hint: &str| {
            Err(Fault::new(Code::BadCgroup, format!("`{text}` {why}")).hint(hint))
        };
        if let Some(below) = text.strip_prefix("/sys/fs/cgroup") {
            let below = below.strip_prefix("/unified").unwrap_or(below);
            let hint = format!("leave the mount point out: {below}");
            return refuse("is a path of the file system", &hint);
        }
        if !text.starts_with('/') {
            let hint = "write it with a leading slash, such as /system.slice/agent.service";
            return refuse("is not the path of a cgroup", hint);
        }
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        if trimmed.is_empty() {
            return refuse("is the root: every process is in it", "name a cgroup below it");
        }
        let mut components = trimmed.split('/').skip(1);
        if trimmed.len() > PATH_BYTES_MAX || components.any(|one| matches!(one, "" | "." | "..")) {
            return refuse("has `//`, `.` or `..` in it", "write the path without them");
        }
        Ok(Self(trimmed.into()))
    }

    /// As written, without a final slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its components.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }

    /// Whether a cgroup, named without `*`, is it or below it.
    pub fn holds(&self, other: &Self) -> bool {
        let mut below = other.components();
        self.components().all(|one| {
            below.next().is_some_and(|part| glob_matches(one.as_bytes(), part.as_bytes()))
        })
    }

    /// Components without a `*`.
    pub fn literals(&self) -> usize {
        self.components().filter(|one| !one.contains('*')).count()
    }

    /// Whether some cgroup can be named by both, given that both have the same depth.
    pub fn may_meet(&self, other: &Self) -> bool {
        self.components().zip(other.components()).all(|(a, b)| components_meet(a, b))
    }
}

/// Whether some text matches both patterns. Two patterns with a `*` each are taken to meet when
/// what stands before the first and after the last does not contradict.
fn components_meet(a: &str, b: &str) -> bool {
    match (a.contains('*'), b.contains('*')) {
        (false, false) => a == b,
        (true, false) => glob_matches(a.as_bytes(), b.as_bytes()),
        (false, true) => glob_matches(b.as_bytes(), a.as_bytes()),
        (true, true) => {
            let head = |text: &str| text.split('*').next().unwrap_or_default().to_owned();
            let tail = |text: &str| text.rsplit('*').next().unwrap_or_default().to_owned();
            let (head_a, head_b, tail_a, tail_b) = (head(a), head(b), tail(a), tail(b));
            (head_a.starts_with(&head_b) || head_b.starts_with(&head_a))
                && (tail_a.ends_with(&tail_b) || tail_b.ends_with(&tail_a))
        }
    }
}
