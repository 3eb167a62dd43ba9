//! The digest of a policy: SHA-256 over its canonical form.
//!
//! The canonical form is one line of JSON for each document, sorted by kind and name, with sorted
//! keys and every value as it was understood. Comments, layout, the order of documents and the
//! split into files do not change it; the order of rules does, since rules are numbered by it.

use std::{collections::BTreeMap, sync::Arc};

use governd_common::limit::Limit;
use serde_json::{Value, json};

use crate::policy::{
    model::{Agent, Approval, EndpointGroup, HostPolicy, Match, Person, Policy, Rule},
    value::{
        LogFailure, Target, Unclassified,
        approval::{Fallback, Sha256},
        container::{ContainerMatch, ImagePattern},
        mode_word,
        port::Ports,
        verdict_word,
    },
};

/// `sha256:` and the digest in hexadecimal.
pub(super) fn digest(policy: &Policy) -> Arc<str> {
    let mut lines: Vec<String> = policy.agents.iter().map(|one| agent(one).to_string()).collect();
    lines.extend(policy.hosts.iter().map(|one| host(one).to_string()));
    lines.extend(policy.groups.iter().map(|one| group(one).to_string()));
    lines.sort_unstable();
    let digest = ring::digest::digest(&ring::digest::SHA256, lines.join("\n").as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").into()
}

/// Keys in alphabetical order, whatever the map of the JSON library.
fn agent(agent: &Agent) -> Value {
    let Agent {
        name,
        place: _,
        owner,
        page,
        sponsor,
        purpose,
        risk,
        approval,
        mode,
        delegation,
        matches,
        default,
        accepted,
        local_sockets,
        questions,
        rules,
        limits,
    } = agent;
    let Approval {
        by,
        on,
        ticket,
        review_by,
        on_expired,
        on_drift,
        digests,
        scripts,
        images,
        versions,
        via,
    } = approval;
    let mut value = json!({
        "a_kind": "Agent",
        "a_name": **name,
        "accepted": verdict_word(*accepted),
        "default": verdict_word(*default),
        "dns": questions.word(),
        "match": matches.iter().map(one_match).collect::<Vec<_>>(),
        "mode": mode.map(mode_word),
        "owner": person(owner),
        "purpose": purpose.as_deref(),
        "review_by": review_by.map(|day| day.to_string()),
        "rules": rules.iter().map(rule).collect::<Vec<_>>(),
        "sha256": digests.iter().map(|one| one.as_str()).collect::<Vec<_>>(),
        "sponsor": sponsor.as_ref().map(person),
        "unix": local_sockets.words(),
        "via": via.iter().map(|one| one.to_string()).collect::<Vec<_>>(),
    });
    let images: Vec<_> = images.iter().map(|one| one.as_str()).collect();
    let versions: Vec<_> = versions.iter().map(|one| one.as_str()).collect();
    let said = [
        ("approved_by", by.as_ref().map(person)),
        ("delegation", delegation.as_ref().map(|said| json!(said.value.word()))),
        ("approved_on", on.map(|day| json!(day.to_string()))),
        ("halt", amounts(&limits.halt)),
        ("images", (!images.is_empty()).then(|| json!(images))),
        ("notify", amounts(&limits.notify)),
        ("on_drift", fallback(*on_drift)),
        ("on_expired", fallback(*on_expired)),
        ("page", page.as_deref().map(|page| json!(page))),
        ("risk", risk.map(|risk| json!(risk.word()))),
        ("scripts", sums(scripts)),
        ("ticket", ticket.as_deref().map(|ticket| json!(ticket))),
        ("versions", (!versions.is_empty()).then(|| json!(versions))),
    ];
    add_said(&mut value, said);
    value
}

/// Digests, where any are said.
fn sums(sums: &[Sha256]) -> Option<Value> {
    let words: Vec<_> = sums.iter().map(|one| one.as_str()).collect();
    (!words.is_empty()).then(|| json!(words))
}

fn fallback(fallback: Fallback) -> Option<Value> {
    (fallback != Fallback::default()).then(|| json!(fallback.word()))
}

fn amounts(amounts: &[u64; Limit::ALL.len()]) -> Option<Value> {
    amounts.iter().any(|amount| *amount != 0).then(|| json!(amounts))
}

/// Adds what is said: a document that does not say it has the digest that it always had.
fn add_said<const N: usize>(value: &mut Value, said: [(&str, Option<Value>); N]) {
    let said = said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    if let Some(fields) = value.as_object_mut() {
        fields.extend(said);
    }
}

fn host(host: &HostPolicy) -> Value {
    let HostPolicy {
        name,
        place: _,
        hosts,
        labels,
        environments,
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
    let mut value = json!({
        "a_kind": "HostPolicy",
        "a_name": **name,
        "hosts": hosts.iter().map(|glob| glob.as_str()).collect::<Vec<_>>(),
        "loopback": verdict_word(*loopback),
        "mode": mode_word(*mode),
        "resolvers": resolvers.iter().map(|one| one.to_string()).collect::<Vec<_>>(),
        "resolvers_host": host_resolvers,
        "unregistered": unregistered.word(),
    });
    let labels: serde_json::Map<String, Value> =
        labels.iter().map(|(key, value)| (key.to_string(), json!(value.as_str()))).collect();
    let environments = environments.as_ref();
    let environments =
        environments.map(|list| json!(list.iter().map(|one| one.as_str()).collect::<Vec<_>>()));
    let exporters = exporters.as_ref();
    let exporters = exporters.map(|list| json!(list.iter().map(|one| &**one).collect::<Vec<_>>()));
    let paths: Vec<_> = resolver_processes.iter().map(|exe| exe.value.as_str()).collect();
    let said = [
        ("environment", environments),
        ("exporters", exporters),
        ("labels", (!labels.is_empty()).then(|| json!(labels))),
        (
            "on_log_failure",
            (*on_log_failure != LogFailure::default()).then(|| json!(on_log_failure.word())),
        ),
        ("resolvers_processes", (!paths.is_empty()).then(|| json!(paths))),
        (
            "unclassified",
            (*unclassified != Unclassified::default()).then(|| json!(unclassified.word())),
        ),
        ("selftest_s", selftest_s.map(|seconds| json!(seconds))),
    ];
    add_said(&mut value, said);
    value
}

fn group(group: &EndpointGroup) -> Value {
    let EndpointGroup { name, place: _, targets, groups, ports, remarks: _ } = group;
    let targets = targets.iter().map(Target::to_string);
    let targets = targets.chain(groups.iter().map(|group| group.value.to_string()));
    let ports = ports.as_ref().map(|ports| ports.iter().map(Ports::to_string).collect::<Vec<_>>());
    json!({
        "a_kind": "EndpointGroup",
        "a_name": **name,
        "endpoints": targets.collect::<Vec<_>>(),
        "ports": ports,
    })
}

fn person(person: &Person) -> Value {
    let Person { name, mail } = person;
    json!({"mail": mail.as_str(), "name": **name})
}

fn one_match(one: &Match) -> Value {
    let Match { place: _, exes, scripts, user, cgroup, container, parent } = one;
    let ContainerMatch { images, namespace, service_account, labels } = container;
    let mut value = json!({
        "cgroup": cgroup.as_ref().map(|cgroup| cgroup.value.as_str()),
        "exe": exes.iter().map(|exe| exe.value.as_str()).collect::<Vec<_>>(),
        "user": user.as_ref().map(|user| user.value.to_string()),
    });
    let parent = parent.as_ref().map(|parent| json!(*parent.value));
    let texts =
        |list: &[ImagePattern]| json!(list.iter().map(|it| it.as_str()).collect::<Vec<_>>());
    let scripts: Vec<_> = scripts.iter().map(|script| script.value.as_str()).collect();
    let labels: BTreeMap<_, _> =
        labels.iter().map(|(key, it)| (key.as_str(), it.as_str())).collect();
    add_said(
        &mut value,
        [
            ("parent", parent),
            ("script", (!scripts.is_empty()).then(|| json!(scripts))),
            ("image", (!images.is_empty()).then(|| texts(images))),
            ("namespace", namespace.as_ref().map(|it| json!(it.as_str()))),
            ("service_account", service_account.as_ref().map(|it| json!(it.as_str()))),
            ("labels", (!labels.is_empty()).then(|| json!(labels))),
        ],
    );
    value
}

fn rule(rule: &Rule) -> Value {
    let Rule {
        place: _,
        index: _,
        tier,
        targets,
        groups,
        // What the groups are, and the catalogue's part of them is no document.
        members: _,
        ports,
        protocol,
        verify,
        plaintext,
        quic,
    } = rule;
    let targets = targets.iter().map(Target::to_string);
    let targets = targets.chain(groups.iter().map(|group| group.value.to_string()));
    let ports = ports.as_ref().map(|ports| ports.iter().map(Ports::to_string).collect::<Vec<_>>());
    json!({
        "plaintext": verdict_word(*plaintext),
        "ports": ports,
        "protocol": protocol.word(),
        "quic": verdict_word(*quic),
        "targets": targets.collect::<Vec<_>>(),
        "verdict": tier.word(),
        "verify": verify.word(),
    })
}
