//! A policy from what was observed, to be reviewed: what each agent connected to, and no more.
//!
//! Names are taken as they are. They become groups of the catalogue or wildcards only where that is
//! asked for, and never a wildcard below which strangers have names.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    compile::Endpoint,
    draft::{Draft, is_interpreter},
    observed::Observed,
    value::{
        container::image_name,
        group::GroupRef,
        name::{HostPattern, is_public_suffix, is_shared_domain, registrable},
    },
};

/// Name of everything that is no agent.
const UNREGISTERED: &str = "unregistered";
/// Names below a common domain that a wildcard takes the place of.
const WILDCARD_NAMES_MIN: usize = 3;

/// What to learn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Only this agent, or unregistered processes of an executable of this name.
    pub agent: Option<&'a str>,
    /// Put groups of this catalogue in place of the names that they have.
    pub groups: Option<&'a [Endpoint]>,
    /// Put wildcards in place of several names of one domain.
    pub has_wildcards: bool,
}

/// What was learned.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Learned {
    /// The documents, one for each agent; empty if nothing was seen.
    pub documents: Vec<String>,
    /// What was not done, and why.
    pub remarks: Vec<String>,
}

/// Writes a document for each agent that was observed.
pub fn learn(flows: &[Observed], options: &Options<'_>) -> Learned {
    let mut by_agent: BTreeMap<(&str, &str, &str, &str), Vec<&Observed>> = BTreeMap::new();
    for flow in flows {
        let key = &flow.key;
        let (exe, user) = (text(&key.exe), text(&key.user));
        // Whatever runs in a container is what the container is.
        let identity = match (&*key.agent, image(flow)) {
            (UNREGISTERED, Some(image)) => (UNREGISTERED, "", "", image),
            (UNREGISTERED, None) => (UNREGISTERED, exe, user, ""),
            (agent, _) => (agent, "", "", ""),
        };
        let is_wanted = |wanted: &str| match identity.0 {
            UNREGISTERED => {
                let known = [exe, identity.3];
                known.into_iter().any(|name| name == wanted || file_name(name) == wanted)
            }
            agent => agent == wanted,
        };
        if options.agent.is_none_or(is_wanted) {
            by_agent.entry(identity).or_default().push(flow);
        }
    }
    let mut learned = Learned::default();
    let mut names = BTreeSet::new();
    for flows in by_agent.into_values() {
        let mut draft = draft(&flows, options, &mut learned.remarks);
        let stem = draft.document_name();
        let others = (2..).map(|number| format!("{stem}-{number}"));
        let mut candidates = std::iter::once(stem.clone()).chain(others);
        draft.name = candidates.find(|name| !names.contains(name)).unwrap_or_default();
        names.insert(draft.name.clone());
        match draft.text() {
            Some(text) => learned.documents.push(text),
            None => {
                let message = format!("{}: nothing is known that could recognise it", draft.name);
                learned.remarks.push(message);
            }
        }
    }
    learned
}

/// The name of the image of the process's container.
fn image(flow: &Observed) -> Option<&str> {
    Some(image_name(flow.key.container.as_ref()?.image.as_deref()?))
}

fn text(text: &Option<Arc<str>>) -> &str {
    text.as_deref().unwrap_or_default()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn draft(flows: &[&Observed], options: &Options<'_>, remarks: &mut Vec<String>) -> Draft {
    // A registered agent may be many programs: the one that was seen most stands for it.
    let mut counts: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for flow in flows {
        let program = match image(flow) {
            Some(image) => ("", "", image),
            None => (text(&flow.key.exe), text(&flow.key.user), ""),
        };
        *counts.entry(program).or_default() += flow.count;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    let (exe, user, image) = most.map_or(("", "", ""), |(program, _)| program);
    let agent = flows.first().map_or(UNREGISTERED, |flow| &*flow.key.agent);
    let is_registered = agent != UNREGISTERED;
    let name = if is_registered {
        agent
    } else if image.is_empty() {
        exe
    } else {
        image
    };
    let owner = flows.iter().rev().find_map(|flow| flow.owner.as_deref());
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Draft {
        name: name.to_owned(),
        is_registered,
        owner: owner.and_then(person),
        purpose: format!("what {} was seen to do", file_name(name)),
        exe: some(exe),
        is_interpreter: is_interpreter(exe),
        user: some(user),
        image: some(image),
        namespace: namespace(flows, image),
        endpoints: endpoints(flows, options, remarks),
        ..Draft::default()
    }
}

/// The namespace of the pods of an image, where all had the same.
fn namespace(flows: &[&Observed], name: &str) -> Option<String> {
    let pods = flows.iter().filter(|flow| image(flow) == Some(name));
    let mut all = pods.map(|flow| flow.key.container.as_ref()?.namespace.as_deref());
    let first = all.next()??;
    all.all(|other| other == Some(first)).then(|| first.to_owned())
}

/// `Dana Smith <dana@acme.example>` as its parts.
fn person(text: &str) -> Option<(String, String)> {
    let (name, mail) = text.strip_suffix('>')?.rsplit_once(" <")?;
    Some((name.to_owned(), mail.to_owned()))
}

/// Destination, port, and whether it was refused.
fn endpoints(
    flows: &[&Observed],
    options: &Options<'_>,
    remarks: &mut Vec<String>,
) -> Vec<(String, u16, bool)> {
    let mut by_port: BTreeMap<(u16, bool), BTreeSet<String>> = BTreeMap::new();
    for flow in flows {
        let key = &flow.key;
        let host = match &key.name {
            Some(name) => name.to_string(),
            None => key.address.to_string(),
        };
        by_port.entry((key.port, flow.was_refused)).or_default().insert(host);
    }
    let mut found = Vec::new();
    for ((port, was_refused), mut hosts) in by_port {
        if !was_refused {
            if let Some(catalogue) = options.groups {
                hosts = grouped(hosts, catalogue);
            }
            if options.has_wildcards {
                hosts = widened(hosts, remarks);
            }
        }
        found.extend(hosts.into_iter().map(|host| (host, port, was_refused)));
    }
    found
}

/// Puts the catalogue's groups in place of the names that they have.
fn grouped(hosts: BTreeSet<String>, catalogue: &[Endpoint]) -> BTreeSet<String> {
    let group = |host: String| {
        let is_one = |endpoint: &&Endpoint| {
            HostPattern::parse(&endpoint.pattern).is_ok_and(|pattern| pattern.matches(&host))
        };
        match catalogue.iter().filter(is_one).max_by_key(|endpoint| endpoint.pattern.len()) {
            None => host,
            Some(Endpoint { provider, kind, .. }) => {
                let kind = Some((*kind).into());
                GroupRef::Catalogue { provider: Arc::clone(provider), kind }.to_string()
            }
        }
    };
    hosts.into_iter().map(group).collect()
}

/// Puts a wildcard in place of several names of one domain, where that domain is one owner's.
fn widened(hosts: BTreeSet<String>, remarks: &mut Vec<String>) -> BTreeSet<String> {
    let mut by_domain: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for host in &hosts {
        let is_name = HostPattern::parse(host).is_ok_and(|pattern| !pattern.is_wildcard());
        if let Some(domain) = registrable(host).filter(|_| is_name) {
            by_domain.entry(domain.to_owned()).or_default().push(host);
        }
    }
    let mut wildcards = BTreeSet::new();
    let mut replaced = BTreeSet::new();
    for names in by_domain.into_values() {
        let Some(base) = common_domain(&names) else { continue };
        let is_below = |name: &&&str| name.strip_suffix(&base).is_some_and(|head| !head.is_empty());
        let below: Vec<String> = names.iter().filter(is_below).map(ToString::to_string).collect();
        if below.len() < WILDCARD_NAMES_MIN {
            continue;
        }
        if is_public_suffix(&base) || is_shared_domain(&base) {
            remarks.push(format!("names below {base} are strangers' too: no wildcard for them"));
            continue;
        }
        wildcards.insert(format!("*.{base}"));
        replaced.extend(below);
    }
    hosts.into_iter().filter(|host| !replaced.contains(host)).chain(wildcards).collect()
}

/// The longest domain that all of the names are or are below of.
fn common_domain(names: &[&str]) -> Option<String> {
    let (first, rest) = names.split_first()?;
    let mut common: Vec<&str> = first.rsplit('.').collect();
    for name in rest {
        let same = common.iter().zip(name.rsplit('.')).take_while(|(a, b)| **a == *b).count();
        common.truncate(same);
    }
    common.reverse();
    Some(common.join("."))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::policy::{self, value::container::ContainerFacts};

    fn flow(agent: &str, exe: &str, name: Option<&str>, port: u16) -> Observed {
        let is_agent = agent != UNREGISTERED;
        let mut flow = Observed {
            count: 2,
            owner: is_agent.then(|| Arc::from("Dana Smith <dana@acme.example>")),
            was_refused: name == Some("exfil.example"),
            ..Observed::by(agent)
        };
        (flow.key.exe, flow.key.user) = (Some(exe.into()), Some("svc".into()));
        (flow.key.name, flow.key.port) = (name.map(Into::into), port);
        flow
    }

    fn catalogue() -> Vec<Endpoint> {
        let pattern = |pattern: &str, kind| Endpoint {
            pattern: pattern.into(),
            provider: "openai".into(),
            kind,
        };
        vec![pattern("*.openai.com", "model-api"), pattern("chat.openai.com", "agent-saas")]
    }

    fn seen() -> Vec<Observed> {
        let mut flows = vec![
            flow("bot", "/opt/bot", None, 8080),
            flow("bot", "/opt/bot", Some("exfil.example"), 443),
            flow("bot", "/usr/bin/curl", Some("chat.openai.com"), 443),
            flow("unregistered", "/usr/bin/python3", Some("api.openai.com"), 443),
            flow("unregistered", "/opt/python3", Some("api.openai.com"), 443),
        ];
        let names = [
            "api.openai.com",
            "files.openai.com",
            "a.x.acme.example",
            "b.x.acme.example",
            "c.x.acme.example",
            "x.acme.example",
            "one.github.io",
            "two.github.io",
            "six.github.io",
            "a.eu.amazonaws.com",
            "b.eu.amazonaws.com",
            "c.us.amazonaws.com",
        ];
        flows.extend(names.map(|name| flow("bot", "/opt/bot", Some(name), 443)));
        flows
    }

    fn whole(learned: &Learned) -> String {
        let text = learned.documents.join("---\n");
        match policy::load(&[("learned.yaml", &text)]) {
            Err(diagnostics) => panic!("{diagnostics}\n{text}"),
            Ok(_) => text + &learned.remarks.join("\n"),
        }
    }

    #[test]
    fn who_is_in_a_container_is_called_by_its_image() {
        let within = |exe: &str, image: &str, namespace: &str| {
            let mut flow = flow("unregistered", exe, Some("api.openai.com"), 443);
            let (image, namespace) = (Some(image.into()), Some(namespace.into()));
            let facts = ContainerFacts { image, namespace, ..ContainerFacts::default() };
            flow.key.container = Some(facts);
            flow
        };
        let flows = [
            within("/usr/bin/python3", "ghcr.io/acme/bot:1", "agents"),
            within("/usr/bin/curl", "ghcr.io/acme/bot:2", "agents"),
            within("/usr/bin/python3", "ghcr.io/acme/tool", "a"),
            within("/usr/bin/python3", "ghcr.io/acme/tool", "b"),
        ];
        let learned = learn(&flows, &Options::default());
        let text = whole(&learned);
        let matches = |text: &str| {
            let lines = text.lines().skip_while(|line| *line != "  match:").skip(1);
            let lines = lines.take_while(|line| line.starts_with("   ")).map(str::trim);
            lines.collect::<Vec<_>>().join(" ")
        };
        let found: Vec<String> = learned.documents.iter().map(|text| matches(text)).collect();
        let bot = r#"- image: "ghcr.io/acme/bot" namespace: "agents""#;
        assert_eq!(found, [bot, r#"- image: "ghcr.io/acme/tool""#], "{text}");
        let only = |agent| learn(&flows, &Options { agent: Some(agent), ..Options::default() });
        assert_eq!(only("tool").documents.len(), 1);
        assert_eq!(only("ghcr.io/acme/bot").documents.len(), 1);
    }

    #[test]
    fn names_stand_as_they_were_seen() {
        insta::assert_snapshot!(whole(&learn(&seen(), &Options::default())));
    }

    #[test]
    fn groups_and_wildcards_are_made_where_asked() {
        let catalogue = catalogue();
        let options = Options { agent: Some("bot"), groups: Some(&catalogue), has_wildcards: true };
        insta::assert_snapshot!(whole(&learn(&seen(), &options)));
        assert_eq!(learn(&seen(), &Options { agent: Some("x"), ..options }).documents.len(), 0);
    }

    proptest! {
        #[test]
        fn what_is_learned_of_anything_is_valid_and_leaves_public_suffixes_alone(
            names in vec(("[a-d]{1,2}\\.", select(vec![
                "com", "github.io", "co.uk", "acme.example", "amazonaws.com", "s3.amazonaws.com",
            ])), 0..20),
            odd: String, exe in "/[a-z/ *.]{0,12}|.{0,6}", agent in "[a-z]{1,4}|unregistered",
        ) {
            let mut flows: Vec<Observed> = names
                .iter()
                .map(|(label, domain)| flow(&agent, &exe, Some(&format!("{label}{domain}")), 443))
                .collect();
            flows.push(flow(&agent, &exe, Some(&odd), 443));
            let options = Options { has_wildcards: true, ..Options::default() };
            let text = whole(&learn(&flows, &options));
            for suffix in ["com", "github.io", "co.uk", "amazonaws.com"] {
                let wildcard = format!("\"*.{suffix}\"");
                prop_assert!(!text.contains(&wildcard), "{}", text);
            }
        }
    }
}
