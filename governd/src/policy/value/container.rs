//! What containers are recognised by: their image, and what Kubernetes says of their pod.
//!
//! References of images are compared as registries mean them: `nginx` is
//! `docker.io/library/nginx`, and what names neither tag nor digest is `latest`
//! (distribution/reference, `normalize.go`).

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{
    Fault,
    approval::{ImageDigest, Version},
    label::{LabelKey, LabelValue},
};
use crate::policy::{diagnostic::Code, limits::IMAGE_BYTES_MAX};

/// Registry of a reference that names none.
const REGISTRY: &str = "docker.io/";
/// What stands there before a name without a slash.
const LIBRARY: &str = "library/";
/// Tag of a reference with neither tag nor digest.
const LATEST: &str = "latest";
/// Longest namespace, and longest name of a service account (RFC 1123, as Kubernetes has it).
const NAMESPACE_BYTES_MAX: usize = 63;
const ACCOUNT_BYTES_MAX: usize = 253;

/// What is known of a container that runs.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ContainerFacts {
    /// Its image, as whoever started it named it.
    pub image: Option<Arc<str>>,
    /// `sha256:` and the image's digest.
    pub digest: Option<Arc<str>>,
    /// Namespace of its pod.
    pub namespace: Option<Arc<str>>,
    /// Service account of its pod.
    pub service_account: Option<Arc<str>>,
    /// Labels of its pod.
    pub labels: BTreeMap<String, String>,
}

/// What a container has to be: all that is said must hold.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ContainerMatch {
    /// Any of these images; empty if nothing is said of them.
    pub images: Vec<ImagePattern>,
    /// Namespace of its pod.
    pub namespace: Option<Namespace>,
    /// Service account of its pod.
    pub service_account: Option<ServiceAccount>,
    /// Labels of its pod, all of them.
    pub labels: BTreeMap<LabelKey, LabelValue>,
}

impl ContainerMatch {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        let Self { images, namespace, service_account, labels } = self;
        images.is_empty() && namespace.is_none() && service_account.is_none() && labels.is_empty()
    }

    /// Whether a container is meant. What is not known of it fits nothing.
    pub fn fits(&self, facts: &ContainerFacts) -> bool {
        let Self { images, namespace, service_account, labels } = self;
        let is = |wanted: Option<&str>, known: &Option<Arc<str>>| {
            wanted.is_none_or(|wanted| known.as_deref() == Some(wanted))
        };
        let has = |(key, value): (&LabelKey, &LabelValue)| {
            facts.labels.get(key.as_str()).is_some_and(|known| known == value.as_str())
        };
        (images.is_empty() || images.iter().any(|image| image.fits(facts)))
            && is(namespace.as_ref().map(Namespace::as_str), &facts.namespace)
            && is(service_account.as_ref().map(ServiceAccount::as_str), &facts.service_account)
            && labels.iter().all(has)
    }

    /// Whether some container can be meant by both, given that both speak of the same.
    pub fn may_meet(&self, other: &Self) -> bool {
        let images = self.images.is_empty()
            || other.images.is_empty()
            || self.images.iter().any(|a| other.images.iter().any(|b| a.may_meet(b)));
        let is_same = |(key, value)| other.labels.get(key).is_none_or(|other| other == value);
        images
            && self.namespace == other.namespace
            && self.service_account == other.service_account
            && self.labels.iter().all(is_same)
    }

    /// How closely it names the image: larger is closer. The least of a list counts.
    pub fn closeness(&self) -> (u8, usize) {
        self.images.iter().map(ImagePattern::closeness).min().unwrap_or_default()
    }
}

/// Images of containers.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ImagePattern {
    written: Box<str>,
    form: Form,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Form {
    /// `sha256:` and a digest, whatever it is called.
    Digest(Box<str>),
    /// Every name, with its tag, that begins so.
    Beginning(Box<str>),
    Reference(Reference),
}

/// A name with its registry, and what is said of it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Reference {
    name: Box<str>,
    tag: Option<Box<str>>,
    digest: Option<Box<str>>,
}

impl Reference {
    /// Reads what a runtime or a person wrote; digests are not looked at closely.
    fn read(text: &str) -> Self {
        let (text, digest) = match text.split_once('@') {
            Some((text, digest)) => (text, Some(digest.to_ascii_lowercase().into())),
            None => (text, None),
        };
        let (name, tag) = split_tag(text);
        Self { name: with_registry(name).into(), tag: tag.map(Into::into), digest }
    }

    /// Name and tag, where only a digest does without one.
    fn tagged(&self) -> String {
        let Self { name, tag, digest } = self;
        match (tag, digest) {
            (Some(tag), _) => format!("{name}:{tag}"),
            (None, Some(_)) => name.to_string(),
            (None, None) => format!("{name}:{LATEST}"),
        }
    }
}

/// What an image is called whatever its version: the name without tag and digest.
pub fn image_name(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    split_tag(name).0
}

/// A colon after the last slash begins a tag; one before it a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

fn has_registry(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(first, _)| first.contains(['.', ':']) || first == "localhost")
}

fn with_registry(name: &str) -> String {
    let name = name.strip_prefix("index.docker.io/").unwrap_or(name);
    let name = name.strip_prefix(REGISTRY).unwrap_or(name);
    match (has_registry(name), name.contains('/')) {
        (true, _) => name.to_owned(),
        (false, true) => format!("{REGISTRY}{name}"),
        (false, false) => format!("{REGISTRY}{LIBRARY}{name}"),
    }
}

impl ImagePattern {
    /// Parses a reference, the beginning of one with `*` at its end, or `sha256:` and a digest.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let form = if text.starts_with("sha256:") {
            Form::Digest(ImageDigest::parse(text)?.as_str().into())
        } else {
            form(text)?
        };
        Ok(Self { written: text.into(), form })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    fn fits(&self, facts: &ContainerFacts) -> bool {
        let known = facts.image.as_deref().map(Reference::read);
        let has_digest = |wanted: &str| {
            facts.digest.as_deref().is_some_and(|digest| digest.eq_ignore_ascii_case(wanted))
                || known.as_ref().is_some_and(|known| known.digest.as_deref() == Some(wanted))
        };
        match (&self.form, &known) {
            (Form::Digest(digest), _) => has_digest(digest),
            (_, None) => false,
            (Form::Beginning(beginning), Some(known)) => known.tagged().starts_with(&**beginning),
            (Form::Reference(Reference { name, tag, digest }), Some(known)) => {
                let is_tagged = |tag: &str| known.tagged() == format!("{name}:{tag}");
                *name == known.name
                    && tag.as_deref().is_none_or(is_tagged)
                    && digest.as_deref().is_none_or(has_digest)
            }
        }
    }

    fn may_meet(&self, other: &Self) -> bool {
        let digest = |form: &Form| match form {
            Form::Digest(digest) => Some(digest.clone()),
            Form::Reference(reference) => reference.digest.clone(),
            Form::Beginning(_) => None,
        };
        if let (Some(a), Some(b)) = (digest(&self.form), digest(&other.form))
            && a != b
        {
            return false;
        }
        match (&self.form, &other.form) {
            (Form::Digest(_), _) | (_, Form::Digest(_)) => true,
            (Form::Beginning(a), Form::Beginning(b)) => a.starts_with(&**b) || b.starts_with(&**a),
            (Form::Beginning(beginning), Form::Reference(reference))
            | (Form::Reference(reference), Form::Beginning(beginning)) => {
                let Reference { name, tag, digest: _ } = reference;
                match tag {
                    Some(tag) => format!("{name}:{tag}").starts_with(&**beginning),
                    None => {
                        name.starts_with(&**beginning) || beginning.starts_with(&format!("{name}:"))
                    }
                }
            }
            (Form::Reference(a), Form::Reference(b)) => {
                let is_same_tag = match (&a.tag, &b.tag) {
                    (Some(a), Some(b)) => a == b,
                    _ => true,
                };
                a.name == b.name && is_same_tag
            }
        }
    }

    fn closeness(&self) -> (u8, usize) {
        match &self.form {
            Form::Digest(_) => (4, 0),
            Form::Reference(Reference { digest: Some(_), .. }) => (5, 0),
            Form::Reference(Reference { tag: Some(_), .. }) => (3, 0),
            Form::Reference(_) => (2, 0),
            Form::Beginning(beginning) => (1, beginning.len()),
        }
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

fn form(text: &str) -> Result<Form, Fault> {
    let refuse = |why: &str, hint: &str| {
        Err(Fault::new(Code::BadImage, format!("`{text}` {why}")).hint(hint))
    };
    let sample = "write it as the one who starts it does, such as ghcr.io/acme/bot or \
                  ghcr.io/acme/bot:1.2";
    if text.len() > IMAGE_BYTES_MAX {
        return refuse("is longer than any name of an image", sample);
    }
    if text.contains("://") {
        return refuse("is a URL", "leave out what stands before the registry's name");
    }
    let (before, is_beginning) = match text.strip_suffix('*') {
        Some(before) => (before, true),
        None => (text, false),
    };
    if before.contains('*') {
        let hint = "a `*` may only be the last character: ghcr.io/acme/*";
        return refuse("has a `*` before its end", hint);
    }
    if is_beginning && before.contains('@') {
        return refuse("has a `*` in its digest", "write the whole digest, or a tag");
    }
    if is_beginning && !before.contains('/') && !before.contains(':') && before.contains('.') {
        let hint = format!("write the slash after the registry: {before}/*");
        return refuse("would be an image of docker.io", &hint);
    }
    if is_beginning && before.is_empty() {
        let hint = "name a registry, such as ghcr.io/*, or match by `cgroup`";
        return refuse("is every image", hint);
    }
    let read = Reference::read(before);
    let own = before.split_once('@').map_or(before, |(name, _)| name);
    let (own, _) = split_tag(own);
    let path =
        if has_registry(own) { own.split_once('/').map_or("", |(_, path)| path) } else { own };
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return refuse("has upper-case letters in its name", "names of images have none");
    }
    let is_fine =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b':');
    let mut parts = read.name.split('/').collect::<Vec<_>>();
    if is_beginning && parts.last() == Some(&"") {
        parts.pop();
    }
    if own.is_empty() || !read.name.bytes().all(is_fine) || parts.contains(&"") {
        return refuse("is not the name of an image", sample);
    }
    if path.contains(':') {
        return refuse("has a `:` where none may be", sample);
    }
    if is_beginning {
        let Reference { name, tag, digest: _ } = read;
        return Ok(Form::Beginning(match tag {
            Some(tag) => format!("{name}:{tag}").into(),
            None => name,
        }));
    }
    if let Some(tag) = &read.tag
        && Version::parse(tag).is_err()
    {
        return refuse("has a tag that cannot be one", sample);
    }
    let digest = read.digest.as_deref().map(ImageDigest::parse).transpose()?;
    let digest = digest.map(|digest| digest.as_str().into());
    Ok(Form::Reference(Reference { digest, ..read }))
}

/// Namespace of Kubernetes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Namespace(Box<str>);

impl Namespace {
    /// Parses a DNS label.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        kubernetes_name(text, "namespace", NAMESPACE_BYTES_MAX, "").map(Self)
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Service account of Kubernetes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ServiceAccount(Box<str>);

impl ServiceAccount {
    /// Parses DNS labels with dots between them.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        kubernetes_name(text, "service account", ACCOUNT_BYTES_MAX, ".").map(Self)
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn kubernetes_name(text: &str, noun: &str, max: usize, further: &str) -> Result<Box<str>, Fault> {
    let is_end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_fine = |byte: u8| is_end(byte) || byte == b'-' || further.as_bytes().contains(&byte);
    let ends = [text.bytes().next(), text.bytes().next_back()];
    let fits = text.len() <= max && text.bytes().all(is_fine);
    if fits && ends.into_iter().all(|byte| byte.is_some_and(is_end)) {
        return Ok(text.into());
    }
    let hint = match further {
        "" => format!("it has lower-case letters, digits and hyphens, at most {max}; no `*`"),
        _ => format!("it has lower-case letters, digits, hyphens and dots, at most {max}; no `*`"),
    };
    Err(Fault::new(Code::BadName, format!("`{text}` is no {noun}")).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn image(name: &str) -> ContainerFacts {
        ContainerFacts {
            image: Some(name.into()),
            digest: Some(DIGEST.into()),
            ..ContainerFacts::default()
        }
    }

    #[test]
    fn images_are_compared_as_registries_mean_them() {
        let pinned = format!("ghcr.io/acme/bot@{DIGEST}");
        let other = format!("ghcr.io/acme/bot@{}", DIGEST.replace('0', "1"));
        let rows: &[(&str, &str, bool)] = &[
            ("ghcr.io/acme/bot", "ghcr.io/acme/bot", true),
            ("ghcr.io/acme/bot", "ghcr.io/acme/bot:1.2", true),
            ("ghcr.io/acme/bot", &pinned, true),
            ("ghcr.io/acme/bot", "ghcr.io/acme/bot-evil", false),
            ("ghcr.io/acme/bot", "ghcr.io/acme/bot/evil", false),
            ("ghcr.io/acme/bot", "evil.example/ghcr.io/acme/bot", false),
            ("ghcr.io/acme/bot:1.2", "ghcr.io/acme/bot:1.2", true),
            ("ghcr.io/acme/bot:1.2", "ghcr.io/acme/bot:1.20", false),
            ("ghcr.io/acme/bot:1.2", "ghcr.io/acme/bot", false),
            ("ghcr.io/acme/bot:latest", "ghcr.io/acme/bot", true),
            ("ghcr.io/acme/bot:latest", &pinned, false),
            ("ghcr.io/acme/bot*", "ghcr.io/acme/bot-x:1", true),
            ("ghcr.io/acme/*", "ghcr.io/acme/bot/x:1", true),
            ("ghcr.io/acme/*", "ghcr.io/acmeevil/bot", false),
            ("ghcr.io/acme/bot:1.*", "ghcr.io/acme/bot:1.7", true),
            ("ghcr.io/acme/bot:1.*", "ghcr.io/acme/bot:10", false),
            ("ghcr.io/acme/bot:1.*", &pinned, false),
            ("localhost:5000/bot", "localhost:5000/bot:2", true),
            ("localhost:5000/bot", "localhost/bot:2", false),
            ("nginx", "nginx:1.25", true),
            ("nginx", "docker.io/library/nginx", true),
            ("docker.io/nginx", "index.docker.io/library/nginx:1", true),
            ("nginx:1.*", "docker.io/library/nginx:1.25", true),
            ("acme/bot", "docker.io/acme/bot:3", true),
            ("acme/bot", "quay.io/acme/bot:3", false),
            ("nginx", "acme/nginx", false),
            (DIGEST, "whatever", true),
            (&pinned, "ghcr.io/acme/bot:1", true),
            (&pinned, "ghcr.io/acme/tool", false),
            (&other, "ghcr.io/acme/bot:1", false),
            (&other, &other, true),
        ];
        for (pattern, name, expected) in rows {
            let pattern = ImagePattern::parse(pattern).unwrap_or_else(|bad| panic!("{bad:?}"));
            assert_eq!(pattern.fits(&image(name)), *expected, "{pattern} {name}");
            assert!(!pattern.fits(&ContainerFacts::default()), "{pattern}");
        }
        let unknown = ContainerFacts { digest: None, ..image("ghcr.io/acme/bot") };
        assert!(!ImagePattern::parse(DIGEST).unwrap().fits(&unknown));
        assert!(!ImagePattern::parse(&pinned).unwrap().fits(&unknown));
    }

    #[test]
    fn what_is_no_image_is_refused_with_a_hint() {
        let rows = [
            ("", "not the name"),
            ("*", "every image"),
            ("ghcr.io/*/bot", "before its end"),
            ("https://ghcr.io/acme/bot", "a URL"),
            ("ghcr.io*", "an image of docker.io"),
            ("ghcr.io/Acme/bot", "upper-case"),
            ("ghcr.io/acme//bot", "not the name"),
            ("ghcr.io/acme/bot/", "not the name"),
            ("ghcr.io/acme/a bot", "not the name"),
            ("ghcr.io/a:b/bot", "a `:`"),
            ("ghcr.io/acme/bot:", "a tag"),
            ("ghcr.io/acme/bot@sha256:12", "no digest"),
            ("ghcr.io/acme/bot@sha256:*", "in its digest"),
            ("sha256:12", "no digest"),
        ];
        for (text, why) in rows {
            let fault = ImagePattern::parse(text).unwrap_err();
            assert!(fault.message.contains(why), "{text}: {}", fault.message);
            assert!(fault.hint.is_some(), "{text}");
        }
        for text in ["", "Acme", "a.b", "-a", "a*", &"a".repeat(64)] {
            assert!(Namespace::parse(text).is_err(), "{text}");
        }
        assert!(ServiceAccount::parse("a.b-c").is_ok() && ServiceAccount::parse("a_b").is_err());
    }

    #[test]
    fn patterns_meet_where_some_image_fits_both() {
        let pinned = format!("ghcr.io/acme/bot@{DIGEST}");
        let rows: &[(&str, &str, bool)] = &[
            ("a.io/b", "a.io/b", true),
            ("a.io/b", "a.io/c", false),
            ("a.io/b:1", "a.io/b", true),
            ("a.io/b:1", "a.io/b:2", false),
            ("a.io/b*", "a.io/bc*", true),
            ("a.io/b*", "a.io/c*", false),
            ("a.io/b*", "a.io/bc", true),
            ("a.io/b:1*", "a.io/b", true),
            ("a.io/b:1*", "a.io/b:2", false),
            ("a.io/c*", "a.io/b", false),
            (DIGEST, "a.io/b", true),
            (DIGEST, &pinned, true),
        ];
        for (a, b, expected) in rows {
            let (a, b) = (ImagePattern::parse(a).unwrap(), ImagePattern::parse(b).unwrap());
            assert_eq!((a.may_meet(&b), b.may_meet(&a)), (*expected, *expected), "{a} {b}");
        }
    }

    #[test]
    fn all_that_is_said_of_a_container_must_hold() {
        let label = |key: &str, value: &str| {
            (LabelKey::parse(key).unwrap(), LabelValue::parse(value).unwrap())
        };
        let wanted = ContainerMatch {
            images: vec![ImagePattern::parse("ghcr.io/acme/bot").unwrap()],
            namespace: Some(Namespace::parse("agents").unwrap()),
            service_account: Some(ServiceAccount::parse("bot").unwrap()),
            labels: [label("app", "bot")].into(),
        };
        let known = ContainerFacts {
            namespace: Some("agents".into()),
            service_account: Some("bot".into()),
            labels: [("app".to_owned(), "bot".to_owned()), ("x".to_owned(), String::new())].into(),
            ..image("ghcr.io/acme/bot:1")
        };
        assert!(wanted.fits(&known) && ContainerMatch::default().fits(&known));
        for other in [
            ContainerFacts { image: None, ..known.clone() },
            ContainerFacts { namespace: Some("other".into()), ..known.clone() },
            ContainerFacts { namespace: None, ..known.clone() },
            ContainerFacts { service_account: None, ..known.clone() },
            ContainerFacts { labels: BTreeMap::new(), ..known.clone() },
        ] {
            assert!(!wanted.fits(&other), "{other:?}");
        }
        let other = |labels: BTreeMap<_, _>| ContainerMatch { labels, ..wanted.clone() };
        assert!(wanted.may_meet(&other([label("tier", "web")].into())));
        assert!(!wanted.may_meet(&other([label("app", "web")].into())));
    }
}
