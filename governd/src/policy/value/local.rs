//! Local sockets that an agent may reach.

use governd_common::limits::SOCKET_PATH_BYTES_MAX;

use super::Fault;
use crate::policy::{diagnostic::Code, image::LocalSocket};

/// Stands for [`ORDINARY`] in a list.
const ORDINARY_WORD: &str = "ordinary";

/// Sockets of services that write what they are told, or say who a user is, and act for nobody:
/// logs, readiness, users. Those that resolve names are not among them: what is asked there, nobody
/// would see as DNS, and a program that is refused asks DNS itself.
const ORDINARY: [&str; 10] = [
    "/dev/log",
    "/run/systemd/journal/dev-log",
    "/run/systemd/journal/socket",
    "/run/systemd/journal/stdout",
    "/run/systemd/journal/syslog",
    "/run/systemd/notify",
    "/run/systemd/userdb/io.systemd.DynamicUser",
    "/run/systemd/userdb/io.systemd.Multiplexer",
    "/run/systemd/userdb/io.systemd.NameServiceSwitch",
    "/var/lib/sss/pipes/nss",
];

/// Local sockets that an agent may reach.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LocalSockets {
    /// Every one.
    Any,
    /// These.
    Listed(Vec<LocalSocket>),
}

impl LocalSockets {
    /// The word for all of them.
    pub const ANY_WORD: &str = "any";

    /// Those of ordinary services.
    pub fn ordinary() -> Self {
        Self::Listed(ordinary())
    }

    /// As documents write them.
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Any => vec![Self::ANY_WORD.to_owned()],
            Self::Listed(list) => list.iter().map(ToString::to_string).collect(),
        }
    }
}

fn ordinary() -> Vec<LocalSocket> {
    ORDINARY.map(|path| LocalSocket::Path(path.into())).to_vec()
}

/// Parses one entry of a list: a path, the beginning of paths with `*` at its end, `@` and an
/// abstract name, or `ordinary`.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Vec<LocalSocket>, Fault> {
    let refuse = |why: &str, hint: &str| {
        Err(Fault::new(Code::BadSocket, format!("`{text}` {why}")).hint(hint))
    };
    if text == ORDINARY_WORD {
        return Ok(ordinary());
    }
    // An abstract name follows a NUL, and the kernel ends a path with one.
    if text.len() >= SOCKET_PATH_BYTES_MAX {
        return refuse("is longer than a local address", "the kernel takes 107 bytes at most");
    }
    if text.contains('\0') {
        return refuse("has a NUL in it", "name the socket as `ss -xl` shows it");
    }
    if let Some(name) = text.strip_prefix('@') {
        if name.is_empty() || name.contains('*') {
            return refuse("is no abstract name", "write the whole name, such as @service");
        }
        return Ok(vec![LocalSocket::Abstract(name.into())]);
    }
    if !text.starts_with('/') {
        let hint = "write the whole path, `@` and an abstract name, or `ordinary`";
        return refuse("is not an absolute path", hint);
    }
    let (path, is_beginning) = match text.strip_suffix('*') {
        Some(beginning) => (beginning, true),
        None => (text, false),
    };
    if path.contains('*') {
        return refuse("has a `*` that is not at its end", "name each socket");
    }
    let mut components: Vec<&str> = path.split('/').skip(1).collect();
    if is_beginning {
        components.pop();
    }
    if components.iter().any(|one| matches!(*one, "" | "." | "..")) {
        return refuse("has `//`, `.` or `..` in it", "write the path without them");
    }
    if is_beginning && components.is_empty() {
        return refuse("is nearly every socket", "name a directory, or write `unix: any`");
    }
    let path = path.into();
    Ok(vec![if is_beginning { LocalSocket::Beginning(path) } else { LocalSocket::Path(path) }])
}

impl std::fmt::Display for LocalSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Beginning(path) => write!(f, "{path}*"),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_and_written_alike() {
        for text in ["/run/db.sock", "/run/agent/*", "/tmp/agent-*", "@agent", "@a/b"] {
            let sockets = parse(text).unwrap();
            let written: Vec<String> = sockets.iter().map(ToString::to_string).collect();
            assert_eq!(written, [text]);
        }
        assert_eq!(LocalSockets::Listed(parse("ordinary").unwrap()), LocalSockets::ordinary());
        assert!(!LocalSockets::ordinary().words().iter().any(|path| path.contains("resolve")));
    }

    #[test]
    fn what_would_be_another_socket_or_every_one_is_refused() {
        let long = format!("/{}", "a".repeat(SOCKET_PATH_BYTES_MAX - 1));
        for text in [
            "run/db.sock",
            "db.sock",
            "",
            "any",
            "@",
            "@agent*",
            "/*",
            "*",
            "/run//db.sock",
            "/run/../db.sock",
            "/run/./db.sock",
            "/run/*/db.sock",
            "/run/db\0.sock",
            "/run/",
            &long,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let longest = format!("/{}", "a".repeat(SOCKET_PATH_BYTES_MAX - 2));
        assert!(parse(&longest).is_ok());
    }
}
