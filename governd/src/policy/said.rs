//! What documents say beside their rules, field by field, and what of it differs between two
//! policies. What rules come to is for [`super::reach`] to say.

use std::{collections::BTreeMap, sync::Arc};

use governd_common::limit::Limit;
use serde::Serialize;

use super::{
    model::{Agent, Approval, HostPolicy, Match, Person, Placed, Policy},
    value::{
        container::{ContainerMatch, ImagePattern},
        label::{LabelKey, LabelValue},
        mode_word,
        process::{Executable, Script},
        verdict_word,
    },
};

/// A field that says something else.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Setting {
    /// Its name, as documents have it.
    pub field: &'static str,
    /// What it said, in words; absent, if nothing.
    pub old: Option<String>,
    /// What it says now.
    pub new: Option<String>,
}

/// What of it differs, by agent.
pub type Settings = BTreeMap<Arc<str>, Vec<Setting>>;

type Fields = Vec<(&'static str, String)>;

/// Compares the documents of agents that both policies have.
pub fn changes(old: &Policy, new: &Policy) -> Settings {
    let before: BTreeMap<&str, &Agent> = old.agents.iter().map(|one| (&*one.name, one)).collect();
    let of = |agent: &Agent| {
        let found = differing(fields(before.get(&*agent.name)?), fields(agent));
        (!found.is_empty()).then(|| (Arc::clone(&agent.name), found))
    };
    new.agents.iter().filter_map(of).collect()
}

/// Compares the host policies of these names; the built-in one is there always.
pub fn host_changes(
    (old, old_name): (&Policy, &str),
    (new, new_name): (&Policy, &str),
) -> Vec<Setting> {
    let of = |policy: &Policy, name: &str| {
        let named = policy.hosts.iter().find(|host| *host.name == *name);
        named.map_or_else(|| host_fields(&HostPolicy::built_in()), host_fields)
    };
    differing(of(old, old_name), of(new, new_name))
}

/// Both have the same fields in the same order.
fn differing(old: Fields, new: Fields) -> Vec<Setting> {
    let said = |text: String| (!text.is_empty()).then_some(text);
    let pairs = old.into_iter().zip(new).filter(|((_, old), (_, new))| old != new);
    pairs
        .map(|((field, old), (_, new))| Setting { field, old: said(old), new: said(new) })
        .collect()
}

fn fields(agent: &Agent) -> Fields {
    let Agent {
        name: _,
        place: _,
        owner,
        page,
        sponsor,
        purpose,
        risk,
        approval,
        // What comes of it is said of the agent as a whole.
        mode: _,
        delegation,
        matches,
        default,
        accepted,
        local_sockets,
        questions,
        rules: _,
        limits,
    } = agent;
    let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
    let mut fields = vec![
        ("owner", owner.to_string()),
        ("page", text(page)),
        ("sponsor", sponsor.as_ref().map(Person::to_string).unwrap_or_default()),
        ("purpose", text(purpose)),
        ("risk", risk.map(|risk| risk.word().to_owned()).unwrap_or_default()),
        ("match", listed(matches.iter().map(in_words), "; ")),
        (
            "delegation",
            delegation.as_ref().map(|it| it.value.word().to_owned()).unwrap_or_default(),
        ),
        ("default", verdict_word(*default).to_owned()),
        ("accepted", verdict_word(*accepted).to_owned()),
        ("unix", listed(local_sockets.words(), ", ")),
        ("dns", questions.word().to_owned()),
        ("limits.notify", amounts(&limits.notify)),
        ("limits.halt", amounts(&limits.halt)),
    ];
    fields.extend(approved(approval));
    fields
}

fn approved(approval: &Approval) -> Fields {
    let Approval {
        by: _,
        on: _,
        ticket: _,
        review_by,
        on_expired,
        on_drift,
        digests,
        scripts,
        images,
        versions,
        via,
    } = approval;
    let words = |words: Vec<&str>| listed(words.into_iter().map(str::to_owned), ", ");
    vec![
        ("approval", approval.words().unwrap_or_default()),
        ("review_by", review_by.map(|day| day.to_string()).unwrap_or_default()),
        ("on_expired", on_expired.word().to_owned()),
        ("on_drift", on_drift.word().to_owned()),
        ("sha256", words(digests.iter().map(|one| one.as_str()).collect())),
        ("scripts", words(scripts.iter().map(|one| one.as_str()).collect())),
        ("images", words(images.iter().map(|one| one.as_str()).collect())),
        ("versions", words(versions.iter().map(|one| one.as_str()).collect())),
        ("via", listed(via.iter().map(ToString::to_string), ", ")),
    ]
}

fn host_fields(host: &HostPolicy) -> Fields {
    let HostPolicy {
        name,
        place: _,
        // Which hosts it is for is said by which one holds.
        hosts: _,
        labels: _,
        environments: _,
        mode,
        unregistered,
        unclassified,
        on_log_failure,
        loopback,
        host_resolvers,
        resolvers,
        resolver_processes,
        selftest_s,
        exporters,
    } = host;
    let processes = resolver_processes.iter().map(|exe| exe.value.as_str().to_owned());
    let exporters = exporters.as_ref().map(|list| match list.as_slice() {
        [] => "none".to_owned(),
        list => listed(list.iter().map(ToString::to_string), ", "),
    });
    vec![
        ("host policy", name.to_string()),
        ("mode", mode_word(*mode).to_owned()),
        ("unregistered", unregistered.word().to_owned()),
        ("unclassified", unclassified.word().to_owned()),
        ("on_log_failure", on_log_failure.word().to_owned()),
        ("loopback", verdict_word(*loopback).to_owned()),
        ("resolvers.host", host_resolvers.to_string()),
        ("resolvers.addresses", listed(resolvers.iter().map(ToString::to_string), ", ")),
        ("resolvers.processes", listed(processes, ", ")),
        ("selftest.every", selftest_s.map(|every| format!("{every} s")).unwrap_or_default()),
        ("exporters", exporters.unwrap_or_else(|| "all".to_owned())),
    ]
}

/// In an order that does not depend on that of the document.
fn listed(words: impl IntoIterator<Item = String>, between: &str) -> String {
    let mut words: Vec<String> = words.into_iter().collect();
    words.sort_unstable();
    words.dedup();
    words.join(between)
}

/// `exe /a or /b, script /c, user x, cgroup /y, image i, parent z`, as far as it is said.
fn in_words(one: &Match) -> String {
    let Match { place: _, exes, scripts, user, cgroup, container, parent } = one;
    let ContainerMatch { images, namespace, service_account, labels } = container;
    let image = |image: &ImagePattern| image.as_str().to_owned();
    let label = |(key, value): (&LabelKey, &LabelValue)| format!("{key}={value}");
    let exe = |exe: &Placed<Executable>| exe.value.as_str().to_owned();
    let script = |script: &Placed<Script>| script.value.as_str().to_owned();
    let parts = [
        (!exes.is_empty()).then(|| format!("exe {}", listed(exes.iter().map(exe), " or "))),
        (!scripts.is_empty())
            .then(|| format!("script {}", listed(scripts.iter().map(script), " or "))),
        user.as_ref().map(|user| format!("user {}", user.value)),
        cgroup.as_ref().map(|cgroup| format!("cgroup {}", cgroup.value.as_str())),
        (!images.is_empty()).then(|| format!("image {}", listed(images.iter().map(image), " or "))),
        namespace.as_ref().map(|it| format!("namespace {}", it.as_str())),
        service_account.as_ref().map(|it| format!("service_account {}", it.as_str())),
        (!labels.is_empty()).then(|| format!("labels {}", listed(labels.iter().map(label), " "))),
        parent.as_ref().map(|parent| format!("parent {}", parent.value)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn amounts(amounts: &[u64; Limit::ALL.len()]) -> String {
    let said = Limit::ALL.iter().zip(amounts).filter(|(_, amount)| **amount != 0);
    let words: Vec<String> =
        said.map(|(limit, amount)| format!("{} {amount}", limit.word())).collect();
    words.join(", ")
}
