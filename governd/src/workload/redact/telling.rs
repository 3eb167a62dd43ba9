//! Values whose name gives them away: options, variables, headers, fields and parameters.

use super::REDACTED;

/// A word of a name after which the value is secret.
const WORDS: &[&str] = &[
    "apikey",
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "credentials",
    "creds",
    "jwt",
    "pass",
    "passin",
    "passout",
    "passphrase",
    "passwd",
    "password",
    "pat",
    "pw",
    "pwd",
    "sas",
    "secret",
    "secrets",
    "sig",
    "signature",
    "token",
];
/// Ends of a word that is written together, such as `PGPASSWORD` or `accesstoken`.
const WORD_ENDS: &[&str] = &[
    "accesskey",
    "apikey",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "secret",
    "secretkey",
    "token",
];
/// Words that make `key` a secret when they stand before it.
const KEY_KINDS: &[&str] = &[
    "access",
    "account",
    "api",
    "auth",
    "client",
    "deploy",
    "encryption",
    "license",
    "master",
    "private",
    "secret",
    "service",
    "session",
    "shared",
    "signing",
    "ssh",
    "subscription",
];
/// A name that ends in one of these names the place of a secret, or something about it.
const HARMLESS_ENDS: &[&str] = &[
    "cmd", "command", "count", "dir", "endpoint", "env", "expiry", "file", "header", "helper",
    "id", "length", "limit", "method", "mode", "name", "path", "policy", "prompt", "provider",
    "size", "stdin", "store", "timeout", "ttl", "type", "uri", "url",
];
/// Options that take a secret, by program.
const SHORT_OPTIONS: &[(&str, &str)] = &[
    ("curl", "-u"),
    ("curl", "-U"),
    ("curl", "--user"),
    ("curl", "--proxy-user"),
    ("docker", "-p"),
    ("http", "-a"),
    ("https", "-a"),
    ("ldapsearch", "-w"),
    ("mariadb", "-p"),
    ("mysql", "-p"),
    ("mysqladmin", "-p"),
    ("mysqldump", "-p"),
    ("podman", "-p"),
    ("redis-cli", "-a"),
    ("smbclient", "-U"),
    ("sshpass", "-p"),
    ("wget", "--user"),
];
/// Programs of [`SHORT_OPTIONS`] that take the value in the same argument only.
const ATTACHED_ONLY: &[&str] = &["mariadb", "mysql", "mysqladmin", "mysqldump"];
/// Programs of [`SHORT_OPTIONS`] that take the value in the next argument only.
const SEPARATE_ONLY: &[&str] = &["docker", "podman"];

/// File name of a program.
pub(super) fn program(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

pub(super) fn is_long_option(argument: &str) -> bool {
    argument.starts_with("--") && argument.len() > 2
}

/// Whether the argument that follows this one is a secret.
pub(super) fn announces_secret(argument: &str, program: &str) -> bool {
    let is_name = argument.starts_with('-') && !argument.contains(['=', ':', ' ']);
    if !is_name || attached_short_option(argument, program).is_some() {
        return false;
    }
    let by_program = SHORT_OPTIONS.contains(&(program, argument));
    (by_program && !ATTACHED_ONLY.contains(&program))
        || (argument.len() > 2 && is_telling(argument))
}

/// The part of `-psecret` that may stay.
pub(super) fn attached_short_option<'a>(argument: &'a str, program: &str) -> Option<&'a str> {
    let option = argument.get(..2)?;
    let known = SHORT_OPTIONS.contains(&(program, option)) && !SEPARATE_ONLY.contains(&program);
    (known && argument.len() > 2 && !argument.starts_with("--")).then_some(option)
}

/// Redacts the values of `name=value`, `name: value`, `"name": "value"` and `?name=value&`.
pub(super) fn redact_named_values(argument: &str) -> String {
    let mut kept = String::with_capacity(argument.len());
    let mut rest = argument;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, with_separator) = rest.split_at(at);
        let (separator, after) = with_separator.split_at(1);
        kept.push_str(before);
        if after.starts_with("//") && separator == ":" {
            rest = without_userinfo(&mut kept, after);
            continue;
        }
        kept.push_str(separator);
        rest = after;
        if !is_telling(last_name(before)) || after.is_empty() {
            continue;
        }
        rest = skip_value(&mut kept, separator, after);
    }
    kept.push_str(rest);
    kept
}

/// Copies `://` and drops `user:password@`; gives what follows.
fn without_userinfo<'a>(kept: &mut String, after: &'a str) -> &'a str {
    kept.push_str("://");
    let rest = after.strip_prefix("//").unwrap_or(after);
    let authority_len = rest.find(['/', '?', '#', ' ', '"', '\'']).unwrap_or(rest.len());
    let (authority, _) = rest.split_at(authority_len);
    match authority.rfind('@') {
        Some(at) => {
            kept.push_str(REDACTED);
            rest.split_at(at).1
        }
        None => rest,
    }
}

/// The name that ends `text`, without quotes: what stands between the last delimiter and the end.
fn last_name(text: &str) -> &str {
    let text = text.trim_end().trim_end_matches(['"', '\'']);
    let start = text
        .rfind(|symbol: char| !symbol.is_ascii_alphanumeric() && !matches!(symbol, '-' | '_' | '.'))
        .map_or(0, |at| {
            at + text.get(at..).and_then(|s| s.chars().next()).map_or(1, char::len_utf8)
        });
    text.get(start..).unwrap_or(text)
}

/// Copies a marker for the value; gives what follows it.
fn skip_value<'a>(kept: &mut String, separator: &str, after: &'a str) -> &'a str {
    let trimmed = after.trim_start();
    let space = after.len() - trimmed.len();
    let quote = trimmed.chars().next().filter(|symbol| matches!(symbol, '"' | '\''));
    if let Some(quote) = quote {
        kept.push_str(after.get(..space).unwrap_or_default());
        kept.push(quote);
        kept.push_str(REDACTED);
        let value = trimmed.get(1..).unwrap_or_default();
        return value.find(quote).and_then(|end| value.get(end..)).unwrap_or_default();
    }
    if separator == ":" {
        kept.push(' ');
        kept.push_str(REDACTED);
        return trimmed
            .find(['\n', '"', '\''])
            .and_then(|end| trimmed.get(end..))
            .unwrap_or_default();
    }
    kept.push_str(REDACTED);
    after
        .find(['&', ' ', ';', ',', '"', '\'', '\n'])
        .and_then(|end| after.get(end..))
        .unwrap_or_default()
}

/// Whether a name (option, variable, header) says that its value is a secret.
fn is_telling(name: &str) -> bool {
    let words = words(name.trim_start_matches('-'));
    let Some(last) = words.last() else { return false };
    if HARMLESS_ENDS.contains(&last.as_str()) {
        return false;
    }
    let is_word = |word: &String| {
        WORDS.contains(&word.as_str()) || WORD_ENDS.iter().any(|end| word.ends_with(end))
    };
    let is_key = |pair: &[String]| match pair {
        [kind, key] => key == "key" && KEY_KINDS.contains(&kind.as_str()),
        _ => false,
    };
    words.iter().any(is_word) || words.windows(2).any(is_key)
}

/// Words of a name in lower case: `--apiKey`, `API_KEY` and `api-key` are `api`, `key`.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut was_lower = false;
    let mut is_open = false;
    for symbol in name.chars().take(128) {
        if !symbol.is_ascii_alphanumeric() {
            is_open = false;
            continue;
        }
        let starts = !is_open || (symbol.is_ascii_uppercase() && was_lower);
        was_lower = symbol.is_ascii_lowercase();
        is_open = true;
        match words.last_mut() {
            Some(word) if !starts => word.push(symbol.to_ascii_lowercase()),
            _ => words.push(symbol.to_ascii_lowercase().to_string()),
        }
    }
    words
}
