//! Arguments without secrets: whatever looks like a key, token or password becomes `[redacted]`.
//!
//! In doubt a value is redacted: a lost detail is cheaper than a leaked key. Three rules are tried
//! on each argument: the value of an option, variable, header or field with a telling name; text
//! with the shape of a known kind of token; a long string that looks random.

use std::{borrow::Cow, sync::Arc};

use super::limits::{ARGS_KEPT_BYTES_MAX, ARGS_MAX};

mod shape;
mod telling;

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";
/// What stands in place of arguments beyond the limits.
pub const TRUNCATED: &str = "[truncated]";

/// Arguments as the kernel keeps them, each ended by NUL, redacted and cut to the limits.
pub fn args(bytes: &[u8]) -> Arc<[String]> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Arc::new([]);
    }
    list(bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy))
}

/// The beginning of arguments of which the rest is not known.
pub fn args_begin(bytes: &[u8]) -> Arc<[String]> {
    let known = args(bytes);
    let is_marked = known.last().is_some_and(|last| last == TRUNCATED);
    let mark = (!is_marked).then(|| TRUNCATED.to_owned());
    known.iter().cloned().chain(mark).collect()
}

/// Redacts a list of arguments, the program's own name first.
pub fn list<'a>(args: impl Iterator<Item = Cow<'a, str>>) -> Arc<[String]> {
    let mut kept = Vec::new();
    let mut bytes_left = ARGS_KEPT_BYTES_MAX;
    let mut program = String::new();
    let mut value_is_secret = false;
    for (index, argument) in args.enumerate() {
        if index == 0 {
            program = telling::program(&argument).to_owned();
        }
        let redacted = if value_is_secret && !telling::is_long_option(&argument) {
            REDACTED.to_owned()
        } else {
            one(&argument, &program)
        };
        value_is_secret = telling::announces_secret(&argument, &program);
        if index == ARGS_MAX || redacted.len() > bytes_left {
            kept.push(TRUNCATED.to_owned());
            break;
        }
        bytes_left -= redacted.len();
        kept.push(redacted);
    }
    kept.into()
}

fn one(argument: &str, program: &str) -> String {
    if argument.contains("PRIVATE KEY-----") {
        return REDACTED.to_owned();
    }
    if let Some(kept) = telling::attached_short_option(argument, program) {
        return format!("{kept}{REDACTED}");
    }
    let named = telling::redact_named_values(argument);
    shape::redact_tokens(&named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(command: &[&str]) -> Vec<String> {
        list(command.iter().map(|text| Cow::Borrowed(*text))).to_vec()
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(*args_begin(b"a\0--api-key\0X1"), ["a", "--api-key", REDACTED, TRUNCATED]);
        let many = "x\0".repeat(ARGS_MAX + 1);
        let kept = args_begin(many.as_bytes());
        assert_eq!(kept.iter().filter(|arg| *arg == TRUNCATED).count(), 1);
        assert_eq!(*args(b"a\0b\0"), ["a", "b"]);
    }

    #[test]
    fn secrets_are_redacted() {
        let hidden = REDACTED;
        let rows: &[(&[&str], &[&str])] = &[
            (&["a", "--api-key", "X1"], &["a", "--api-key", hidden]),
            (&["a", "--token=X1", "b"], &["a", "--token=[redacted]", "b"]),
            (&["a", "--openai_api_key", "X1"], &["a", "--openai_api_key", hidden]),
            (&["a", "--apiKey=abc"], &["a", "--apiKey=[redacted]"]),
            (&["env", "OPENAI_API_KEY=hello"], &["env", "OPENAI_API_KEY=[redacted]"]),
            (&["env", "PGPASSWORD=hello", "psql"], &["env", "PGPASSWORD=[redacted]", "psql"]),
            (
                &["curl", "-H", "Authorization: Bearer abc def", "u"],
                &["curl", "-H", "Authorization: [redacted]", "u"],
            ),
            (&["curl", "-Hx-api-key:abc"], &["curl", "-Hx-api-key: [redacted]"]),
            (&["curl", "-H", "Cookie: a=b; c=d"], &["curl", "-H", "Cookie: [redacted]"]),
            (&["curl", "-u", "me:pw", "h"], &["curl", "-u", hidden, "h"]),
            (&["/usr/bin/curl", "-ume:pw"], &["/usr/bin/curl", "-u[redacted]"]),
            (&["curl", "--user", "me:pw"], &["curl", "--user", hidden]),
            (&["mysql", "-psecret", "db"], &["mysql", "-p[redacted]", "db"]),
            (&["sshpass", "-p", "pw", "ssh"], &["sshpass", "-p", hidden, "ssh"]),
            (&["redis-cli", "-a", "pw"], &["redis-cli", "-a", hidden]),
            (
                &["git", "clone", "https://me:pw@example.com/x.git"],
                &["git", "clone", "https://[redacted]@example.com/x.git"],
            ),
            (
                &["git", "clone", "https://ghp_token@example.com/x.git"],
                &["git", "clone", "https://[redacted]@example.com/x.git"],
            ),
            (
                &["wget", "https://h.example/p?a=1&api_key=zzz&b=2"],
                &["wget", "https://h.example/p?a=1&api_key=[redacted]&b=2"],
            ),
            (
                &["node", "-e", r#"f({"apiKey": "abc def", "x": 1})"#],
                &["node", "-e", r#"f({"apiKey": "[redacted]", "x": 1})"#],
            ),
            (&["a", "sk-proj-abcdefghijklmnop"], &["a", hidden]),
            (&["a", "key:sk-ant-api03-abcdefghij"], &["a", "key:[redacted]"]),
            (&["a", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"], &["a", hidden]),
            (&["a", "x AKIAIOSFODNN7EXAMPLE y"], &["a", "x [redacted] y"]),
            (&["a", "AIzaSyA1234567890abcdefghijklmnopqrstuv"], &["a", hidden]),
            (&["a", "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJ-_x"], &["a", hidden]),
            (&["a", "hf_abcdefghijklmnopqrst"], &["a", hidden]),
            (&["a", "xoxb-123456789012-abcdefghij"], &["a", hidden]),
            (&["a", "-----BEGIN RSA PRIVATE KEY-----\nMII"], &["a", hidden]),
            (&["a", "f3a9c07be1d24586a0b1c2d3e4f50617"], &["a", hidden]),
            (&["a", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY1"], &["a", hidden]),
            (&["a", "--x=Zk39fLq0PwTn58sVbYc21RmA"], &["a", "--x=[redacted]"]),
            (&["openssl", "-passin", "pass:abc"], &["openssl", "-passin", hidden]),
        ];
        for (command, expected) in rows {
            assert_eq!(&redacted(command), expected, "{command:?}");
        }
    }

    #[test]
    fn ordinary_arguments_stay() {
        let rows: &[&[&str]] = &[
            &["python3", "-m", "crewai", "run", "--max-tokens", "4096", "--tokenizer", "gpt2"],
            &["node", "/usr/lib/node_modules/@anthropic-ai/claude-code/cli.js", "--verbose"],
            &["docker", "login", "--username", "me", "--password-stdin", "registry.example"],
            &["app", "--token-file", "/run/secrets/token", "--auth-type", "basic"],
            &["java", "-cp", "/opt/My2ndApplicationServiceImplementation.jar", "com.x.Main"],
            &["containerd-shim", "-id", "k8s.io", "-address", "/run/containerd/containerd.sock"],
            &["x", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
            &["x", "123e4567-e89b-12d3-a456-426614174000"],
            &["mysql", "-u", "root", "-h", "db.internal.example.com"],
            &["ssh", "-p", "22", "me@host.example.com"],
            &["app", "my-long-service-name-in-production-eu-west-1"],
            &["curl", "https://api.openai.com/v1/models", "-H", "Accept: application/json"],
            &["tar", "cf", "/tmp/a-b_c.tar", "--exclude=keyboard", "monkey=1"],
            &["x", "--author=Dana", "--passive", "--compass", "north"],
        ];
        for command in rows {
            assert_eq!(&redacted(command), command);
        }
    }

    #[test]
    fn long_arguments_are_cut_and_bytes_need_not_be_text() {
        let mut bytes = b"prog\0".to_vec();
        for _ in 0..5_000 {
            bytes.extend_from_slice(b"aaaaaaaaaaaa\0");
        }
        let cut = args(&bytes);
        assert_eq!(cut.len(), ARGS_MAX + 1);
        assert_eq!(cut.last().map(String::as_str), Some(TRUNCATED));
        let long = args(&[b'a'; 60_000]);
        assert_eq!(&*long, [TRUNCATED.to_owned()]);
        assert_eq!(&*args(b"\xff\xfe\0b\0"), ["\u{fffd}\u{fffd}".to_owned(), "b".to_owned()]);
        assert_eq!(&*args(b""), Vec::<String>::new());
        assert_eq!(&*args(b"a\0\0"), ["a".to_owned(), String::new()]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_taken_and_stay_below_the_limit(bytes: Vec<u8>) {
            let kept: usize = args(&bytes).iter().map(String::len).sum();
            proptest::prop_assert!(kept <= ARGS_KEPT_BYTES_MAX + TRUNCATED.len());
        }

        #[test]
        fn a_random_key_never_survives(key in "[A-Za-z0-9]{10}[0-9][A-Z][0-9]q[A-Za-z0-9]{24}") {
            for argument in [format!("--k={key}"), format!("Bearer {key}"), format!("sk-{key}")] {
                let kept = args(argument.as_bytes());
                proptest::prop_assert!(!kept.iter().any(|text| text.contains(&key)), "{kept:?}");
            }
        }
    }
}
