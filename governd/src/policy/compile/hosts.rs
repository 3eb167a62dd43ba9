//! Which host policy holds for a host: the one that says most about it, and why.

use serde::Serialize;

use crate::policy::{
    diagnostic::{Code, Diagnostic, Diagnostics},
    host::{Host, HostLabels},
    model::{HostPolicy, Policy},
    value::name::HostGlob,
};

/// The host policy that holds.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Choice {
    /// Its name, or `built-in`.
    pub name: String,
    /// What of it fits the host, in words.
    pub why: String,
    /// Others that fit the host and say less about it.
    pub over: Vec<String>,
}

impl Choice {
    /// `host policy web, by the host name pattern web-*, over all`.
    pub fn words(&self) -> String {
        let Self { name, why, over } = self;
        let over = match over.as_slice() {
            [] => String::new(),
            others => format!(", over {}", others.join(", ")),
        };
        format!("host policy {name}, {why}{over}")
    }
}

/// How much a policy says of a host that it is for, the more the larger: an exact name before a
/// pattern, then a longer pattern, then more labels, then an environment.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Rank {
    is_exact: bool,
    characters: usize,
    labels: usize,
    names_environment: bool,
}

/// Chooses among the policies.
pub(super) fn choose<'a>(
    policy: &'a Policy,
    host: &dyn Host,
    out: &mut Diagnostics,
) -> (Option<&'a HostPolicy>, Choice) {
    let name = host.name();
    let labels = host.labels().unwrap_or_else(|fault| {
        out.push(fault);
        HostLabels::default()
    });
    let fits = |one: &'a HostPolicy| Some((rank(one, name, &labels)?, one));
    let mut ranked: Vec<_> = policy.hosts.iter().filter_map(fits).collect();
    ranked.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    if let [(first_rank, first), (second_rank, second), ..] = ranked.as_slice()
        && first_rank == second_rank
        && let (Some(place), Some(other)) = (&second.place, &first.place)
    {
        let message = format!(
            "the host policies `{}` (at {other}) and `{}` are both for the host `{name}`",
            first.name, second.name
        );
        let hint = "name the hosts of one of them more closely";
        out.push(Diagnostic::error(Code::Duplicate, place, message).hint(hint));
    }
    let over = ranked.iter().skip(1).map(|(_, one)| one.name.to_string()).collect();
    match ranked.first() {
        Some((_, one)) => {
            (Some(*one), Choice { name: one.name.to_string(), why: why(one, name), over })
        }
        None => {
            let why = format!("as no host policy is for the host {name}");
            (None, Choice { name: "built-in".into(), why, over })
        }
    }
}

/// `None` if the policy is not for the host.
fn rank(policy: &HostPolicy, name: &str, host: &HostLabels) -> Option<Rank> {
    let (is_exact, characters) = closest(policy, name)?.rank();
    let has = |(key, value)| host.labels.get(key) == Some(value);
    let is_in = |list: &Vec<_>| host.environment.as_ref().is_some_and(|own| list.contains(own));
    let fits = policy.labels.iter().all(has) && policy.environments.as_ref().is_none_or(is_in);
    fits.then_some(Rank {
        is_exact,
        characters,
        labels: policy.labels.len(),
        names_environment: policy.environments.is_some(),
    })
}

/// The pattern of a policy that says most about a host's name.
fn closest<'a>(policy: &'a HostPolicy, name: &str) -> Option<&'a HostGlob> {
    policy.hosts.iter().filter(|glob| glob.matches(name)).max_by_key(|glob| glob.rank())
}

fn why(policy: &HostPolicy, name: &str) -> String {
    let mut parts: Vec<String> = match closest(policy, name) {
        Some(glob) if glob.rank().0 => vec![format!("the host name {}", glob.as_str())],
        Some(glob) if glob.rank().1 > 0 => vec![format!("the host name pattern {}", glob.as_str())],
        _ => Vec::new(),
    };
    parts.extend(policy.labels.iter().map(|(key, value)| format!("the label {key}={value}")));
    if policy.environments.is_some() {
        parts.push("the environment".to_owned());
    }
    match parts.as_slice() {
        [] => "for every host".to_owned(),
        parts => format!("by {}", parts.join(" and ")),
    }
}
