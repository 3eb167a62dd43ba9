//! The last look at arguments before they are recorded. The workload room redacts when it reads
//! them and knows more; this catches what would slip through, cheaply: no pattern engine, one pass.

use std::fmt::{self, Display, Formatter};

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";

/// Beginnings of well-known keys and tokens.
const PREFIXES: &[&str] = &[
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "pk_live_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "hf_",
    "gsk_",
    "xai-",
    "xoxa-",
    "xoxb-",
    "xoxp-",
    "xoxs-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "npm_",
    "pypi-",
    "r8_",
    "SG.",
    "eyJ",
    "-----BEGIN",
];

/// Shortest text after a prefix that is taken for a key; below it, it is a word such as `hf_hub`.
const KEY_BYTES_MIN: usize = 12;

/// Parts of a name that make its value a secret.
const NAMES: &[&str] =
    &["key", "token", "secret", "password", "passwd", "passphrase", "credential", "authorization"];

/// The command line in one string, arguments separated by a space.
pub(super) struct CommandLine<'a>(pub(super) &'a [String]);

impl Display for CommandLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut is_value = false;
        for (position, arg) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            let is_option = arg.starts_with('-');
            if is_value && !is_option {
                f.write_str(REDACTED)?;
            } else {
                argument(f, arg)?;
            }
            is_value = is_option && !arg.contains('=') && is_secret_name(arg);
        }
        Ok(())
    }
}

fn argument(f: &mut Formatter<'_>, arg: &str) -> fmt::Result {
    if let Some((name, value)) = arg.split_once(['=', ':'])
        && !value.is_empty()
        && !name.contains(['/', ' '])
        && is_secret_name(name)
    {
        let separator = arg.get(name.len()..=name.len()).unwrap_or_default();
        return write!(f, "{name}{separator}{REDACTED}");
    }
    for (position, part) in arg.split(' ').enumerate() {
        if position > 0 {
            f.write_str(" ")?;
        }
        word(f, part)?;
    }
    Ok(())
}

fn word(f: &mut Formatter<'_>, word: &str) -> fmt::Result {
    if let Some((scheme, rest)) = word.split_once("://")
        && let Some((userinfo, host)) = rest.split_once('@')
        && userinfo.contains(':')
        && !userinfo.contains('/')
    {
        return write!(f, "{scheme}://{REDACTED}@{host}");
    }
    if word.len() < KEY_BYTES_MIN {
        return f.write_str(word);
    }
    let bare = word.trim_matches(['"', '\'']);
    let value = bare.rsplit_once('=').map_or(bare, |(_, value)| value);
    if PREFIXES.iter().any(|prefix| is_key(value, prefix)) {
        return f.write_str(&word.replace(value, REDACTED));
    }
    f.write_str(word)
}

fn is_key(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| rest.len() >= KEY_BYTES_MIN)
}

fn is_secret_name(name: &str) -> bool {
    let is_part = |part: &&str| {
        let (name, part) = (name.as_bytes(), part.as_bytes());
        name.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
    };
    NAMES.iter().any(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_pass_and_the_rest_does() {
        let rows: &[(&[&str], &str)] = &[
            (&["python3", "-m", "agent"], "python3 -m agent"),
            (&["a", "--api-key", "abc"], "a --api-key [redacted]"),
            (&["a", "--api-key", "--verbose"], "a --api-key --verbose"),
            (&["a", "--api-key=abc"], "a --api-key=[redacted]"),
            (&["a", "--password=[redacted]"], "a --password=[redacted]"),
            (&["env", "OPENAI_API_KEY=sk-abc"], "env OPENAI_API_KEY=[redacted]"),
            (&["a", "sk-proj-0123456789abcdef"], "a [redacted]"),
            (&["a", "--x=ghp_0123456789abcdef"], "a --x=[redacted]"),
            (&["curl", "-H", "Authorization: Bearer x"], "curl -H Authorization:[redacted]"),
            (&["curl", "-H", "X: Bearer eyJhbGciOiJIUzI1NiJ9"], "curl -H X: Bearer [redacted]"),
            (&["psql", "postgres://u:p@db/x"], "psql postgres://[redacted]@db/x"),
            (&["curl", "https://a.example/@x:y"], "curl https://a.example/@x:y"),
            (&["ls", "/etc/keys:ro"], "ls /etc/keys:ro"),
            (&["pip", "install", "hf_hub"], "pip install hf_hub"),
        ];
        for (args, want) in rows {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            assert_eq!(CommandLine(&args).to_string(), *want);
        }
    }
}
