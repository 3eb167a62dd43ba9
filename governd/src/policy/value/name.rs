//! Host names and wildcards.

use std::{fmt, sync::Arc};

use governd_common::limits::NAME_BYTES_MAX;

use super::{Fault, idn};
use crate::policy::{
    diagnostic::Code,
    limits::{AGENT_NAME_BYTES_MAX, LABEL_BYTES_MAX},
};

/// A host name, or a wildcard for every name below one; lower case, no final dot, ASCII.
///
/// `*.example.com` matches one or more labels below `example.com`, and never `example.com`.
#[derive(Clone, Debug, Eq, PartialEq, Hash, Ord, PartialOrd)]
pub struct HostPattern {
    base: Arc<str>,
    is_wildcard: bool,
}

impl HostPattern {
    /// Parses `api.example.com` or `*.example.com`. International names become A-labels.
    ///
    /// # Errors
    /// What is wrong with it, and what was perhaps meant.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        refuse_url(text)?;
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        let (base, is_wildcard) = match name.strip_prefix("*.") {
            Some(base) => (base, true),
            None => (name, false),
        };
        refuse_star(text, base)?;
        let ascii = if base.is_ascii() { None } else { Some(idn::to_ascii(text, base)?) };
        let base = ascii.as_deref().unwrap_or(base);
        for label in base.split('.') {
            check_label(text, label)?;
        }
        if base.len() + if is_wildcard { 2 } else { 0 } > NAME_BYTES_MAX {
            return bad(format!("`{text}` is longer than {NAME_BYTES_MAX} bytes"), "shorten it");
        }
        let last = base.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!("`{text}` ends in a number, and is no address");
            return bad(message, "an IPv4 address has four numbers from 0 to 255");
        }
        Ok(Self { base: base.into(), is_wildcard })
    }

    /// The name, without `*.`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// True for `*.base`.
    pub fn is_wildcard(&self) -> bool {
        self.is_wildcard
    }

    /// Labels of the base.
    pub fn labels(&self) -> usize {
        self.base.split('.').count()
    }

    /// Whether it matches a host name, given in lower case and without final dot.
    pub fn matches(&self, name: &str) -> bool {
        if !self.is_wildcard {
            return *self.base == *name;
        }
        name.strip_suffix(&*self.base)
            .and_then(|head| head.strip_suffix('.'))
            .is_some_and(|head| !head.is_empty())
    }

    /// The key in the name trie, without slot: the name reversed, then NUL, or `.` for a wildcard.
    pub fn trie_key(&self) -> Box<[u8]> {
        let end = if self.is_wildcard { b'.' } else { 0 };
        self.base.bytes().rev().chain([end]).collect()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_wildcard { "*." } else { "" }, self.base)
    }
}

fn bad<T>(message: String, hint: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::new(Code::BadPattern, message).hint(hint))
}

fn refuse_url(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return bad("an empty text is not a name".to_owned(), "remove it, or write a host name");
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
        return bad(
            format!("`{text}` is a URL"),
            format!("rules are about hosts: write {host}, and the port under `ports`"),
        );
    }
    if let Some((host, port)) = text.split_once(':')
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        let hint = format!("write {host}, and `ports: [{port}]` beside the list");
        return bad(format!("`{text}` has a port"), hint);
    }
    if let Some((host, _)) = text.split_once('/') {
        let hint = format!("rules are about hosts: write {host}");
        return bad(format!("`{text}` has a path"), hint);
    }
    Ok(())
}

fn refuse_star(text: &str, base: &str) -> Result<(), Fault> {
    if text == "*" {
        let hint = "use `default: allow`, or the networks 0.0.0.0/0 and \"::/0\"";
        return bad("`*` alone would match every name".to_owned(), hint);
    }
    if let Some((_, tail)) = base.rsplit_once('*') {
        let tail = tail.trim_start_matches(|one| one != '.').trim_start_matches('.');
        let hint = if !tail.contains('.') {
            "write \"*.example.com\"".to_owned()
        } else {
            format!("\"*.{tail}\" matches every name below {tail}, however deep")
        };
        let message = format!("`{text}`: `*` stands only at the front, as a whole label");
        return bad(message, hint);
    }
    Ok(())
}

fn check_label(text: &str, label: &str) -> Result<(), Fault> {
    if label.is_empty() {
        return bad(format!("`{text}` has an empty label"), "remove the extra dot");
    }
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if let Some(other) = label.bytes().find(|byte| !is_fine(*byte)) {
        let message = format!("`{text}` has `{}` in it", char::from(other));
        return bad(message, "a host name has letters, digits, `-` and `_`");
    }
    if label.len() > LABEL_BYTES_MAX {
        let wire = if text.is_ascii() { "" } else { ", as it goes over the wire" };
        let message = format!("`{text}` has a label of more than {LABEL_BYTES_MAX} bytes{wire}");
        return bad(message, "shorten it");
    }
    Ok(())
}

/// Checks a document's name: a DNS label, as Kubernetes wants it.
///
/// # Errors
/// What is wrong with it.
pub fn check_document_name(text: &str) -> Result<(), Fault> {
    let bad = |message: String, hint: String| Err(Fault::new(Code::BadName, message).hint(hint));
    let hint = "a name has lower-case letters, digits and hyphens, such as invoice-bot";
    if text == "unregistered" {
        let message = "`unregistered` stands for everything that is no agent".to_owned();
        return bad(message, "choose another name".to_owned());
    }
    if text.len() > AGENT_NAME_BYTES_MAX {
        let message = format!("`{text}` is longer than {AGENT_NAME_BYTES_MAX} bytes");
        return bad(message, "shorten it".to_owned());
    }
    let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.starts_with('-') || text.ends_with('-') {
        return bad(format!("`{text}` is not a name"), hint.to_owned());
    }
    if !text.bytes().all(is_fine) {
        let replaced: String = text
            .to_lowercase()
            .chars()
            .map(|one| if one.is_ascii() && is_fine(one as u8) { one } else { '-' })
            .collect();
        let near = replaced.trim_matches('-').to_owned();
        let hint = if near.is_empty() { hint.to_owned() } else { format!("{hint}; try {near}") };
        return bad(format!("`{text}` is not a name"), hint);
    }
    Ok(())
}

/// A pattern for host names of the policy's own hosts; `*` matches any run of characters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostGlob(Box<str>);

impl HostGlob {
    /// Parses `web-*`.
    ///
    /// # Errors
    /// Text that can match no host name.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let is_fine =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'*');
        if text.is_empty() || !text.bytes().all(is_fine) {
            return bad(
                format!("`{text}` matches no host name"),
                "write a host name, or a pattern such as \"web-*\"",
            );
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// Every host.
    pub fn every() -> Self {
        Self("*".into())
    }

    /// Whether it matches, whatever the case.
    pub fn matches(&self, host: &str) -> bool {
        glob_matches(self.0.as_bytes(), host.to_ascii_lowercase().as_bytes())
    }

    /// Larger for patterns that say more: exact names first, then by characters that are no `*`.
    pub fn rank(&self) -> (bool, usize) {
        (!self.0.contains('*'), self.0.bytes().filter(|byte| *byte != b'*').count())
    }

    /// As written, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `*` matches any run of bytes. Linear in practice: only the last `*` is ever tried again.
pub(crate) fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if text.get(t) == Some(byte) => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after, at)) => {
                    retry = Some((after, at + 1));
                    (p, t) = (after, at + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_none_or(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// Domains of clouds and content networks, below which every customer has names.
const SHARED_DOMAINS: &[&str] = &[
    "akamaiedge.net",
    "akamaized.net",
    "aliyuncs.com",
    "amazonaws.com",
    "amazonaws.com.cn",
    "azure-api.net",
    "azure.com",
    "azureedge.net",
    "azurefd.net",
    "azurewebsites.net",
    "blob.core.windows.net",
    "cloudapp.azure.com",
    "cloudflare.com",
    "cloudfront.net",
    "core.windows.net",
    "edgekey.net",
    "edgesuite.net",
    "fastly.net",
    "googleapis.com",
    "googleusercontent.com",
    "myqcloud.com",
    "oraclecloud.com",
    "trafficmanager.net",
    "windows.net",
];

/// Whether strangers have names below this one, although one company owns it: the domain itself,
/// or a region of it, such as `eu-west-1.amazonaws.com`.
pub(crate) fn is_shared_domain(base: &str) -> bool {
    let is_region =
        |label: &str| label.contains('-') && label.ends_with(|one: char| one.is_ascii_digit());
    let region = base.split_once('.').filter(|(label, _)| is_region(label));
    let above = region.map_or(base, |(_, above)| above);
    [base, above].iter().any(|name| SHARED_DOMAINS.contains(name))
}

/// The registrable domain of a name (public suffix and one label), if it has one.
pub(crate) fn registrable(name: &str) -> Option<&str> {
    psl::domain_str(name)
}

/// Whether anybody can register a name directly below this one.
pub(crate) fn is_public_suffix(base: &str) -> bool {
    // The list's default rule makes every single label a suffix: true for TLDs and, for a label
    // such as `internal` or `cluster`, false.
    psl::suffix(base.as_bytes())
        .is_some_and(|suffix| suffix.is_known() && suffix.as_bytes() == base.as_bytes())
}
