//! A document for an agent that was found, to be reviewed by whoever registers it.
//!
//! What was observed is offered, never more: names and ports that it connected to, in monitor mode.
//! What cannot stand in a document stands in a comment, so that the text is always valid.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use super::{
    value::{
        Mail,
        approval::{Day, ImageDigest, Sha256, Version},
        container::{ImagePattern, Namespace},
        group::Item,
        name::check_document_name,
        process::{Cgroup, Executable, Script, User},
    },
    yaml::deceives,
};

/// Names of executables that run whatever they are told to.
const INTERPRETERS: &[&str] = &[
    "bash", "bun", "dash", "deno", "dotnet", "java", "node", "perl", "php", "python", "ruby", "sh",
    "uv",
];

/// Whether an executable runs whatever it is told to, by its name.
pub fn is_interpreter(exe: &str) -> bool {
    let file = exe.rsplit('/').next().unwrap_or(exe);
    let stem = file.trim_end_matches(|one: char| one.is_ascii_digit() || one == '.');
    INTERPRETERS.contains(&stem)
}

/// Longest name that is made of a program's.
const NAME_BYTES_MAX: usize = 63;
/// Port that needs no rule where the resolver is trusted.
const PORT_DNS: u16 = 53;

/// What is known of the agent.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// What to call it.
    pub name: String,
    /// Whether a document for it exists already.
    pub is_registered: bool,
    /// Who runs it, by name and mail address, if somebody said so.
    pub owner: Option<(String, String)>,
    /// What it is, in words.
    pub purpose: String,
    /// Its executable.
    pub exe: Option<String>,
    /// The script that it runs, or the file that its module begins with.
    pub script: Option<String>,
    /// Whether the executable runs whatever it is told to, such as an interpreter.
    pub is_interpreter: bool,
    /// The user that it runs as, by name or number.
    pub user: Option<String>,
    /// Its unit's cgroup.
    pub cgroup: Option<String>,
    /// Name of its container's image. What runs in the container is the agent, whatever program
    /// and user it has.
    pub image: Option<String>,
    /// The image's digest.
    pub image_digest: Option<String>,
    /// Namespace of its pod.
    pub namespace: Option<String>,
    /// SHA-256 of the executable.
    pub sha256: Option<String>,
    /// SHA-256 of the script that it runs.
    pub script_sha256: Option<String>,
    /// Version of the package that it is of.
    pub version: Option<String>,
    /// Last day of the approval.
    pub review_by: Option<String>,
    /// Host, port and whether it was denied, of each destination.
    pub endpoints: Vec<(String, u16, bool)>,
}

/// What a newcomer may not expect.
const UNSEEN: &str =
    "    # Of what nobody registered, little but AI endpoints is on record: let this monitor
    # it for a while, and learn again before it is enforced.";

impl Draft {
    /// The document. `None` if nothing is known that could recognise the agent.
    pub fn text(&self) -> Option<String> {
        let mut text = String::from(HEAD);
        if self.is_registered {
            text = format!("{REGISTERED}{text}");
        }
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        line(format!("metadata:\n  name: {}", document_name(&self.name)));
        line("spec:".into());
        self.people(&mut line);
        let recognised = self.recognised(&mut line);
        self.approval(&mut line);
        self.egress(&mut line);
        recognised.then_some(text)
    }

    /// The name that the document gets.
    pub fn document_name(&self) -> String {
        document_name(&self.name)
    }

    fn people(&self, line: &mut impl FnMut(String)) {
        let owner = self.owner.as_ref();
        let owner = owner.filter(|(name, mail)| !name.is_empty() && Mail::parse(mail).is_ok());
        match owner {
            Some((name, mail)) => {
                line(format!("  owner: {{name: {}, mail: {}}}", quoted(name), quoted(mail)));
            }
            None => {
                line("  # Whoever runs it, and is asked when something is denied.".into());
                line("  owner: {name: \"To be named\", mail: \"nobody@example.invalid\"}".into());
            }
        }
        line(format!("  purpose: {}", quoted(&self.purpose)));
        line("  # Denials are recorded and not carried out; `enforce` carries them out.".into());
        line("  mode: monitor".into());
    }

    fn recognised(&self, line: &mut impl FnMut(String)) -> bool {
        if let Some(image) = self.image() {
            self.recognised_by(image, line);
            return true;
        }
        let exe = self.exe.as_deref().filter(|exe| Executable::parse(exe).is_ok());
        let user = self.user.as_deref().filter(|user| User::parse(user).is_ok());
        let cgroup = self.cgroup.as_deref().filter(|cgroup| Cgroup::parse(cgroup).is_ok());
        // A unit tells it from other scripts, before it runs.
        let script = self.script.as_deref().filter(|_| self.is_interpreter && cgroup.is_none());
        let script = script.filter(|script| Script::parse(script).is_ok());
        if self.is_interpreter && cgroup.is_none() && script.is_none() {
            line(
                "  # An interpreter: whatever this user runs with it is this agent. A unit or"
                    .into(),
            );
            line("  # a copy of the interpreter for the agent alone tells them apart.".into());
        }
        line("  match:".into());
        let fields = [("exe", exe), ("script", script), ("user", user), ("cgroup", cgroup)];
        let mut mark = '-';
        for (field, value) in fields {
            if let Some(value) = value {
                line(format!("    {mark} {field}: {}", quoted(value)));
                mark = ' ';
            }
        }
        mark == ' '
    }

    fn image(&self) -> Option<&str> {
        self.image.as_deref().filter(|image| ImagePattern::parse(image).is_ok())
    }

    fn recognised_by(&self, image: &str, line: &mut impl FnMut(String)) {
        line("  # Whatever runs in a container of this image is this agent.".into());
        line(format!("  match:\n    - image: {}", quoted(image)));
        let namespace = self.namespace.as_deref().filter(|name| Namespace::parse(name).is_ok());
        if let Some(namespace) = namespace {
            line(format!("      namespace: {}", quoted(namespace)));
        }
    }

    fn approval(&self, line: &mut impl FnMut(String)) {
        if let Some(day) = self.review_by.as_deref().filter(|day| Day::parse(day).is_ok()) {
            line(format!("  review_by: {day}"));
        }
        if self.image().is_some() {
            let digest = self.image_digest.as_deref();
            if let Some(digest) = digest.and_then(|digest| ImageDigest::parse(digest).ok()) {
                line("  # The image as it was when this was written.".into());
                line(format!("  provenance:\n    images: [{:?}]", digest.as_str()));
            }
            return;
        }
        let digest =
            |text: &Option<String>| text.as_deref().and_then(|digest| Sha256::parse(digest).ok());
        let digest = |text| Some(format!("[{}]", digest(text)?.as_str()));
        let version = self.version.as_deref().and_then(|version| Version::parse(version).ok());
        let rows = [
            ("sha256", digest(&self.sha256)),
            ("scripts", digest(&self.script_sha256)),
            ("versions", version.map(|version| format!("[{}]", quoted(version.as_str())))),
        ];
        let mut known = rows.into_iter().filter_map(|(name, value)| Some((name, value?)));
        if let Some((name, value)) = known.next() {
            line("  # What it ran when this was written; another is drift.".into());
            line(format!("  provenance:\n    {name}: {value}"));
        }
        for (name, value) in known {
            line(format!("    {name}: {value}"));
        }
    }

    fn egress(&self, line: &mut impl FnMut(String)) {
        let mut hosts: BTreeMap<u16, Vec<String>> = BTreeMap::new();
        let mut left_out: Vec<String> = Vec::new();
        for (host, port, is_denied) in &self.endpoints {
            if *port == PORT_DNS {
                continue;
            }
            if *is_denied || *port == 0 || Item::parse(host).is_err() {
                let is_fine = |one: &char| !one.is_control() && !deceives(*one);
                let host: String = host.chars().filter(is_fine).collect();
                left_out.push(format!("{host}:{port}"));
            } else {
                hosts.entry(*port).or_default().push(quoted(host));
            }
        }
        line("  egress:\n    default: deny".into());
        if hosts.is_empty() {
            line("    # Nothing was seen that could be allowed.".into());
            line("    rules: []".into());
        } else {
            line("    # What it was seen to connect to; remove what it does not need.".into());
            if !self.is_registered {
                line(UNSEEN.into());
            }
            line("    rules:".into());
        }
        for (port, hosts) in hosts {
            line(format!("      - allow: [{}]\n        ports: [{port}]", hosts.join(", ")));
        }
        for host in left_out {
            line(format!("    # Tried, and not offered here: {host}"));
        }
    }
}

const REGISTERED: &str = "\
# It is registered already: keep its own owner and `match`, and take the rules from here.
";

const HEAD: &str = "\
# Written by governd from what was observed. Review every line.
apiVersion: governd.dev/v1
kind: Agent
";

/// A name of a document, made of any text.
fn document_name(text: &str) -> String {
    let stem = Path::new(text).file_stem().map(|stem| stem.to_string_lossy());
    let lower = stem.unwrap_or_default().to_ascii_lowercase();
    let mut name = String::new();
    for one in lower.chars() {
        let one = if one.is_ascii_alphanumeric() { one } else { '-' };
        if name.len() < NAME_BYTES_MAX && !(one == '-' && (name.is_empty() || name.ends_with('-')))
        {
            name.push(one);
        }
    }
    let name = name.trim_end_matches('-');
    if check_document_name(name).is_ok() { name.to_owned() } else { "agent".to_owned() }
}

/// Text in quotes, as YAML and JSON alike read it; characters that no document may have become
/// U+FFFD.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for one in text.chars() {
        match one {
            '"' | '\\' => {
                out.push('\\');
                out.push(one);
            }
            _ if one.is_control() || deceives(one) => out.push('\u{fffd}'),
            _ => out.push(one),
        }
    }
    // Writing to a string cannot fail.
    write!(out, "\"").ok();
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy;

    fn full() -> Draft {
        Draft {
            name: "invoice_agent.py".into(),
            is_registered: false,
            owner: Some(("Dana Smith".into(), "dana@acme.example".into())),
            purpose: "coding-agent codex, found on host-1".into(),
            exe: Some("/usr/bin/python3.11".into()),
            script: Some("/opt/invoice/agent.py".into()),
            is_interpreter: true,
            user: Some("svc-invoice".into()),
            cgroup: Some("/system.slice/invoice.service".into()),
            image: None,
            image_digest: None,
            namespace: None,
            sha256: Some("0a".repeat(32)),
            script_sha256: Some("0b".repeat(32)),
            version: Some("1.2.0".into()),
            review_by: Some("2027-02-19".into()),
            endpoints: vec![
                ("api.openai.com".into(), 443, false),
                ("2001:db8::1".into(), 443, false),
                ("127.0.0.1".into(), 11434, false),
                ("192.0.2.53".into(), 53, false),
                ("exfil.example".into(), 443, true),
                ("under_score.example".into(), 443, false),
            ],
        }
    }

    #[test]
    fn interpreters_are_known_by_name_whatever_their_version() {
        for exe in ["/usr/bin/python3.11", "/opt/node", "/bin/dash", "python3"] {
            assert!(is_interpreter(exe), "{exe}");
        }
        for exe in ["/usr/local/bin/codex", "/opt/nodejs-agent", ""] {
            assert!(!is_interpreter(exe), "{exe}");
        }
    }

    fn errors(text: &str) -> String {
        match policy::load(&[("draft.yaml", text)]) {
            Ok(_) => String::new(),
            Err(diagnostics) => diagnostics.to_string(),
        }
    }

    #[test]
    fn a_draft_offers_what_was_seen() {
        let text = full().text().unwrap();
        assert_eq!(errors(&text), "", "{text}");
        insta::assert_snapshot!(text);
        let bare = Draft { exe: Some("/opt/x".into()), ..Draft::default() };
        let text = bare.text().unwrap();
        assert_eq!(errors(&text), "", "{text}");
        assert_eq!(Draft::default().text(), None);
    }

    #[test]
    fn an_interpreter_without_a_unit_is_told_by_its_script() {
        let draft = Draft { cgroup: None, ..full() };
        let text = draft.text().unwrap();
        assert_eq!(errors(&text), "", "{text}");
        let recognised = "  match:\n    - exe: \"/usr/bin/python3.11\"\n      script: \
                          \"/opt/invoice/agent.py\"\n      user: \"svc-invoice\"\n";
        assert!(text.contains(recognised), "{text}");
        assert!(!text.contains("whatever this user runs"), "{text}");
        let unknown = Draft { script: Some("agent.py".into()), ..draft };
        let text = unknown.text().unwrap();
        assert!(!text.contains("script:") && text.contains("whatever this user runs"), "{text}");
        assert!(!full().text().unwrap().contains("script:"), "a unit is enough");
    }

    #[test]
    fn a_draft_of_a_container_is_about_its_image() {
        let draft = Draft {
            image: Some("ghcr.io/acme/bot".into()),
            image_digest: Some(format!("sha256:{}", "0a".repeat(32))),
            namespace: Some("agents".into()),
            endpoints: Vec::new(),
            ..full()
        };
        let text = draft.text().unwrap();
        assert_eq!(errors(&text), "", "{text}");
        let recognised =
            "  match:\n    - image: \"ghcr.io/acme/bot\"\n      namespace: \"agents\"\n";
        assert!(text.contains(recognised), "{text}");
        let images = format!("  provenance:\n    images: [\"sha256:{}\"]\n", "0a".repeat(32));
        assert!(text.contains(&images) && !text.contains("sha256:\n"), "{text}");
        assert!(!text.contains("exe:") && !text.contains("user:"), "{text}");
        // What no document may have is not in one.
        let nameless = Draft { image: Some("*".into()), image_digest: Some("1".into()), ..draft };
        let text = nameless.text().unwrap();
        assert!(!text.contains("image") && text.contains("exe:"), "{text}");
        assert_eq!(errors(&text), "", "{text}");
    }

    proptest! {
        #[test]
        fn a_draft_of_anything_is_valid(name: String, person: String, mail: String, exe: String,
            host: String, port: u16, purpose in "\\PC{0,80}|.{0,80}", digest: String,
            version: String) {
            let draft = Draft {
                name,
                owner: Some((person.chars().take(20).collect(), mail)),
                purpose,
                script: Some(format!("/srv/{exe}")),
                exe: Some(format!("/opt/{exe}")),
                cgroup: None,
                user: Some("0".into()),
                sha256: Some(digest.clone()),
                script_sha256: Some(digest),
                version: Some(version),
                endpoints: vec![(host, port, false)],
                ..full()
            };
            let text = draft.text().unwrap();
            prop_assert_eq!(errors(&text), "", "{}", text);
        }
    }
}
