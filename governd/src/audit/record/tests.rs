//! Every kind of record against OCSF's own requirements, and one whole line per kind.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{LazyLock, OnceLock},
};

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;
use crate::{
    audit::canonical,
    core::{
        digest::{Digest, FileVersion},
        process::{Exe, Login},
        workload::{Container, Image, Pod, Runtime, Told, Workload},
    },
};

static FACTS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("testdata/ocsf_1.8.0.json")).unwrap());

/// Object type of an attribute, for those that governd emits.
const OBJECTS: &[(&str, &str)] = &[
    ("actor", "actor"),
    ("analytic", "analytic"),
    ("answers", "dns_answer"),
    ("api", "api"),
    ("app", "product"),
    ("connection_info", "network_connection_info"),
    ("device", "device"),
    ("dst_endpoint", "network_endpoint"),
    ("evidences", "evidences"),
    ("file", "file"),
    ("hashes", "fingerprint"),
    ("finding_info", "finding_info"),
    ("firewall_rule", "firewall_rule"),
    ("metadata", "metadata"),
    ("os", "os"),
    ("parent_process", "process"),
    ("policy", "policy"),
    ("process", "process"),
    ("product", "product"),
    ("query", "dns_query"),
    ("resources", "resource_details"),
    ("service", "service"),
    ("session", "session"),
    ("src_endpoint", "network_endpoint"),
    ("user", "user"),
];

fn names(facts: &Value, list: &str) -> Vec<String> {
    let list = facts.get(list).and_then(Value::as_array).into_iter().flatten();
    list.map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// What is wrong with an object, attribute by attribute; `allowed` are names beside its facts.
fn faults(path: &str, map: &Map<String, Value>, facts: &Value, allowed: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    for name in names(facts, "required") {
        if !map.contains_key(&name) {
            faults.push(format!("{path}: requires {name}"));
        }
    }
    let at_least_one = names(facts, "at_least_one");
    if !at_least_one.is_empty() && !at_least_one.iter().any(|name| map.contains_key(name)) {
        faults.push(format!("{path}: requires one of {at_least_one:?}"));
    }
    let deprecated = names(facts, "deprecated");
    let lists = ["required", "at_least_one", "recommended", "optional"];
    let known: Vec<String> = lists.iter().flat_map(|list| names(facts, list)).collect();
    for (name, value) in map {
        if deprecated.contains(name) {
            faults.push(format!("{path}: {name} is deprecated"));
        }
        if !known.contains(name) && !allowed.contains(name) {
            faults.push(format!("{path}: {name} is no attribute"));
        }
        let Some((_, object)) = OBJECTS.iter().find(|(attribute, _)| attribute == name) else {
            continue;
        };
        let facts = &FACTS["objects"][object];
        let path = format!("{path}.{name}");
        match value {
            Value::Object(map) => faults.extend(super::tests::faults(&path, map, facts, &[])),
            Value::Array(items) => {
                for item in items {
                    let map = item.as_object().unwrap();
                    faults.extend(super::tests::faults(&path, map, facts, &[]));
                }
            }
            other => faults.push(format!("{path}: {other} is no object")),
        }
    }
    faults
}

/// What OCSF has to say against a line.
fn validate(line: &str) -> Vec<String> {
    let all = &*FACTS;
    let event: Value = serde_json::from_str(line).unwrap();
    let class_uid = &event["class_uid"];
    let classes = all["classes"].as_object().unwrap();
    let Some((name, facts)) = classes.iter().find(|(_, facts)| facts["class_uid"] == *class_uid)
    else {
        return vec![format!("class {class_uid} is unknown")];
    };
    let mut allowed = names(all, "base_optional");
    let mut found = Vec::new();
    for profile in names(&event["metadata"], "profiles") {
        if !names(facts, "profiles").contains(&profile) {
            found.push(format!("{name}: has no profile {profile}"));
        }
        allowed.extend(names(&all["profiles"], &profile));
    }
    found.extend(faults(name, event.as_object().unwrap(), facts, &allowed));
    if event["category_uid"] != facts["category_uid"] {
        found.push(format!("{name}: category {}", event["category_uid"]));
    }
    if !facts["activity_ids"].as_array().unwrap().contains(&event["activity_id"]) {
        found.push(format!("{name}: activity {}", event["activity_id"]));
    }
    let type_uid = class_uid.as_u64().unwrap() * 100 + event["activity_id"].as_u64().unwrap();
    if event["type_uid"] != type_uid {
        found.push(format!("{name}: type {}", event["type_uid"]));
    }
    if event["metadata"]["version"] != all["version"] {
        found.push(format!("{name}: version {}", event["metadata"]["version"]));
    }
    found
}

fn facts() -> Context {
    Context {
        hostname: "host-a.example".into(),
        machine_id: Some("5c0f3a4e5c0f3a4e5c0f3a4e5c0f3a4e".into()),
        boot_id: "8f0b8f0b-0000-4000-8000-00000000008f".into(),
        booted_ms: 1_763_600_000_000,
        kernel: "6.18.44".into(),
        version: "0.1.0".into(),
        degraded: [].into(),
    }
}

fn host() -> Host {
    Host::new(facts())
}

fn bare_host() -> Host {
    Host::new(Context { machine_id: None, ..facts() })
}

fn stamp() -> Stamp {
    Stamp {
        time_ms: 1_763_640_000_101,
        logged_ms: 1_763_640_000_123,
        sequence: 7,
        tokens: Tokens::default(),
    }
}

/// A record's line, with the same salt for every value.
fn line(record: &Record, host: &Host) -> String {
    let (values, mut text) = (record.values(), String::new());
    let token = |value: &str| Token::of(&[7; personal::SALT_BYTES], value);
    let command_line = values.write_command_line(&mut text).then(|| token(&text));
    let tokens = Tokens { user: values.user.map(token), command_line };
    let stamp = Stamp { tokens, ..stamp() };
    let line = record.line(host, &stamp);
    let mut prepared = host.clone();
    prepared.prepare(record, &stamp);
    assert_eq!(record.line(&prepared, &stamp), line);
    // What was made for other values is not taken.
    let other = Stamp { tokens: Tokens { user: None, command_line: None }, ..stamp };
    assert_eq!(record.line(&prepared, &other), record.line(host, &other));
    line
}

fn subject() -> Arc<Subject> {
    Arc::new(Subject {
        started_by: None,
        id: 3,
        agent: "invoice-bot".into(),
        owner: Some("Dana Smith <dana@acme.example>".into()),
        sponsor: Some("Lee Wong <lee@acme.example>".into()),
        risk: Some("high"),
        approver: Some("Robin Reyes <robin@acme.example>".into()),
    })
}

fn started() -> Arc<Subject> {
    Arc::new(Subject { started_by: Some("coder".into()), ..(*subject()).clone() })
}

fn unregistered() -> Arc<Subject> {
    Arc::new(Subject { agent: "unregistered".into(), ..Subject::default() })
}

fn policy() -> PolicyRef {
    PolicyRef { digest: format!("sha256:{}", "cd".repeat(32)).into(), generation: 17 }
}

fn actor() -> Actor {
    let process = Process {
        pid: 4_242,
        started_ns: 39_000_123_456_789,
        parent: Some(4_200),
        name: "python3".to_owned(),
        exe: Some(Exe {
            path: PathBuf::from("/opt/invoice-bot/bin/python3"),
            device: 8 << 20 | 1,
            inode: 131_072,
        }),
        args: Some(vec!["python3".to_owned(), "-m".to_owned(), "bot".to_owned()].into()),
        uid: Some(1_001),
        user: Some("svc-invoice".into()),
        gid: Some(1_001),
        cgroup_id: Some(5_555),
        cgroup: Some("/system.slice/invoice-bot.service".into()),
        ..Process::default()
    };
    let lineage = vec![
        Ancestor { pid: 4_200, name: "bash".to_owned(), exe: Some("/usr/bin/bash".into()) },
        Ancestor { pid: 1, name: "systemd".to_owned(), exe: None },
    ];
    Actor { process: Arc::new(process), lineage: lineage.into() }
}

/// The actor in a container of a pod, which somebody who logged in started in a trace.
fn actor_in_pod() -> Actor {
    let image = Image {
        name: "registry.acme.example/bot:3".into(),
        digest: Some(format!("sha256:{}", "ef".repeat(32)).into()),
    };
    let pod = Pod {
        namespace: "agents".into(),
        name: "bot-6c9d-x2x1".into(),
        service_account: Some("bot".into()),
        controller: Some("ReplicaSet/bot-6c9d".into()),
        labels: [("app".to_owned(), "bot".to_owned())].into(),
    };
    let workload = Workload {
        unit: Some("containerd.service".into()),
        user_unit: Some("app-bot.service".into()),
        session: None,
        container: Some(Container { runtime: Runtime::Containerd, id: "ab".repeat(32) }),
        pod: Some("6c4f2b1e-8a7d-4c3b-9e2f-1a2b3c4d5e6f".into()),
        told: OnceLock::from(Told { image: Some(image), pod: None }),
        pod_facts: OnceLock::from(Arc::new(pod)),
    };
    let digest = Digest::of(FileVersion { device: 1, inode: 131_072, bytes: 9, changed: (1, 2) });
    digest.settle(Some("12".repeat(32).into()));
    let digest = Arc::new(digest);
    let process = Process {
        workload: Some(Arc::new(workload)),
        login: Login { uid: Some(1_000), session: Some(4) },
        session: Some(4_100),
        digest: Some(digest),
        trace: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
        ..(*actor().process).clone()
    };
    Actor { process: Arc::new(process), ..actor() }
}

fn bare_actor() -> Actor {
    let process = Process { pid: 4_242, ..Process::default() };
    Actor { process: Arc::new(process), lineage: Arc::new([]) }
}

fn rule() -> RuleRef {
    RuleRef { id: "invoice-bot/egress/2".into(), text: "allow api.openai.com port 443/tcp".into() }
}

fn decision(verdict: Verdict, reason: Reason, mode: Mode) -> Decision {
    Decision { verdict, reason, mode, rule: Some(rule()), policy: policy() }
}

fn destination() -> Destination {
    Destination {
        address: IpAddr::from([203, 0, 113, 9]),
        port: 443,
        name: Some("api.openai.com".into()),
        evidence: Evidence::Dns,
        service: Some("openai".into()),
        said: None,
    }
}

fn bare_destination() -> Destination {
    Destination {
        address: "2001:db8::9".parse().unwrap(),
        port: 53,
        name: None,
        evidence: Evidence::None,
        service: None,
        said: None,
    }
}

fn flow(verdict: Verdict, reason: Reason, mode: Mode) -> Flow {
    Flow {
        actor: actor(),
        subject: subject(),
        decision: decision(verdict, reason, mode),
        hook: Hook::Connect,
        destination: Some(destination()),
        path: None,
        protocol: 6,
        cookie: 77_123,
    }
}

fn finding() -> Finding {
    Finding {
        kind: "shadow-agent".into(),
        uid: "shadow-agent:/usr/local/bin/agent".into(),
        title: "an AI agent that nobody registered reached openai".into(),
        severity: 4,
        confidence: Confidence::High,
        first_seen_ms: 1_763_640_000_000,
        subject: Some(unregistered()),
        actor: Some(actor()),
        destination: Some(destination()),
        evidence: vec!["connected to api.openai.com".to_owned()],
    }
}

/// Every kind, with all that can be known.
fn full() -> Vec<(&'static str, Record)> {
    let installed = PolicyOutcome::Installed { previous: Some(policy()), agents: 2, rules: 9 };
    let refused = PolicyOutcome::Refused {
        errors: vec!["/etc/governd/policies/a.yaml:3:5: unknown field `alow`".to_owned()],
    };
    let change = |outcome| PolicyChange {
        policy: Some(policy()),
        sources: vec!["/etc/governd/policies/a.yaml".to_owned()],
        outcome,
    };
    let lifecycle =
        |phase| Lifecycle { phase, pid: 900, mode: Mode::Enforce, policy: Some(policy()) };
    vec![
        ("flow_allowed", Record::Flow(flow(Verdict::Allow, Reason::Rule, Mode::Enforce))),
        ("flow_denied", Record::Flow(flow(Verdict::Deny, Reason::NoRule, Mode::Enforce))),
        ("flow_would_deny", Record::Flow(flow(Verdict::Deny, Reason::NoRule, Mode::Monitor))),
        ("dns", Record::Dns(answer())),
        ("dns_query_denied", Record::Query(query(Mode::Enforce))),
        ("exec", Record::Exec(Exec { actor: actor(), subject: started(), policy: policy() })),
        (
            "exec_in_pod",
            Record::Exec(Exec { actor: actor_in_pod(), subject: started(), policy: policy() }),
        ),
        ("policy_installed", Record::Policy(change(installed))),
        ("policy_refused", Record::Policy(change(refused))),
        ("start", Record::Lifecycle(lifecycle(Phase::Start))),
        (
            "stop",
            Record::Lifecycle(lifecycle(Phase::Stop {
                reason: "signal SIGTERM".into(),
                stays_attached: false,
            })),
        ),
        (
            "loss",
            Record::Loss(Loss {
                source: LossSource::Kernel(LossReason::Ring),
                count: 12,
                since_ms: 1_763_639_999_000,
                detail: Some("16 MiB".into()),
            }),
        ),
        ("finding", Record::Finding(finding())),
    ]
}

fn query(mode: Mode) -> DnsQuery {
    let flow = flow(Verdict::Deny, Reason::DnsName, mode);
    let to = Destination {
        name: None,
        evidence: Evidence::None,
        service: None,
        port: 53,
        ..destination()
    };
    DnsQuery {
        flow: Flow { destination: Some(to), hook: Hook::Egress, protocol: 17, ..flow },
        name: "tunnel.example.net".into(),
        question_type: 16,
    }
}

fn answer() -> DnsAnswer {
    DnsAnswer {
        actor: Some(actor()),
        subject: subject(),
        policy: policy(),
        resolver: IpAddr::from([10, 0, 0, 2]),
        name: "api.openai.com".into(),
        question_type: 1,
        addresses: vec![(IpAddr::from([203, 0, 113, 9]), 60)],
    }
}

#[test]
fn records_say_what_the_kernel_keeps_from_working() {
    let detail = "tables take all their memory at once";
    let memory = Degraded { what: "memory", detail };
    let errno = Degraded { what: "errno", detail: "EPERM" };
    let message = |degraded: &[Degraded], record: &Record| {
        let host = Host::new(Context { degraded: degraded.into(), ..facts() });
        let line: Value = serde_json::from_str(&line(record, &host)).unwrap();
        let degraded = line["unmapped"]["governd"].get("degraded").cloned();
        (line["message"].as_str().unwrap().to_owned(), degraded.unwrap_or_default())
    };
    let lifecycle = Lifecycle { phase: Phase::Start, pid: 1, mode: Mode::Enforce, policy: None };
    let start = Record::Lifecycle(lifecycle);
    assert_eq!(message(&[], &start), ("governd started".to_owned(), Value::Null));
    let (words, list) = message(&[memory, errno], &start);
    assert_eq!(words, "governd started, degraded by this kernel: memory, errno");
    assert_eq!(list, serde_json::json!([["memory", detail], ["errno", "EPERM"]]));
}

/// Every kind, with nothing that can be missing.
fn minimal() -> Vec<Record> {
    let bare_flow = Flow {
        actor: bare_actor(),
        subject: unregistered(),
        decision: Decision { rule: None, ..decision(Verdict::Deny, Reason::Fault, Mode::Enforce) },
        hook: Hook::Sendmsg,
        destination: Some(bare_destination()),
        path: None,
        protocol: 253,
        cookie: 0,
    };
    let raw = Flow { destination: None, hook: Hook::SockCreate, ..bare_flow.clone() };
    let sent = Flow {
        decision: decision(Verdict::Allow, Reason::Rule, Mode::Enforce),
        ..bare_flow.clone()
    };
    let change = |outcome| PolicyChange { policy: None, sources: Vec::new(), outcome };
    let lost = |source| Loss { source, count: 1, since_ms: 0, detail: None };
    vec![
        Record::Repeated(Repeated { flow: bare_flow.clone(), count: 118_000, first_ms: 1 }),
        Record::Flow(bare_flow),
        Record::Flow(raw),
        Record::Flow(sent),
        Record::Dns(DnsAnswer {
            actor: None,
            addresses: Vec::new(),
            question_type: 65,
            ..answer()
        }),
        Record::Query(DnsQuery { name: "".into(), question_type: 0, ..query(Mode::Monitor) }),
        Record::Exec(Exec { actor: bare_actor(), subject: unregistered(), policy: policy() }),
        Record::Policy(change(PolicyOutcome::Installed { previous: None, agents: 0, rules: 0 })),
        Record::Policy(change(PolicyOutcome::Refused { errors: Vec::new() })),
        Record::Lifecycle(Lifecycle {
            phase: Phase::Start,
            pid: 1,
            mode: Mode::Monitor,
            policy: None,
        }),
        Record::Loss(lost(LossSource::Log)),
        Record::Loss(lost(LossSource::Queue)),
        Record::Loss(lost(LossSource::TornTail)),
        Record::Loss(lost(LossSource::Export)),
        Record::Deleted(Deleted {
            kept_from: 4_096,
            records: 4_096,
            bytes: 64 << 20,
            is_early: false,
        }),
        Record::Loss(lost(LossSource::Killed)),
        Record::Loss(lost(LossSource::Undestroyed)),
        Record::Finding(Finding {
            subject: None,
            actor: None,
            destination: None,
            evidence: Vec::new(),
            severity: 0,
            ..finding()
        }),
    ]
}

#[test]
fn every_kind_is_valid_ocsf() {
    for record in full().into_iter().map(|(_, record)| record).chain(minimal()) {
        for host in [host(), bare_host()] {
            let line = line(&record, &host);
            assert_eq!(validate(&line), Vec::<String>::new(), "{line}");
        }
    }
}

#[test]
fn the_validator_finds_what_is_wrong() {
    let (_, record) = full().remove(0);
    let line = line(&record, &host());
    let broken = |pointer: &str, key: &str, value: Option<Value>| {
        let mut event: Value = serde_json::from_str(&line).unwrap();
        let map = event.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => map.insert(key.to_owned(), value),
            None => map.remove(key),
        };
        validate(&event.to_string())
    };
    assert_eq!(broken("", "time", None), ["network_activity: requires time"]);
    assert_eq!(broken("", "tls", Some(1.into())), ["network_activity: tls is no attribute"]);
    assert_eq!(
        broken("/actor/process", "lineage", Some(1.into())),
        [
            "network_activity.actor.process: lineage is deprecated",
            "network_activity.actor.process: lineage is no attribute"
        ]
    );
    assert_eq!(broken("/device", "type_id", None), ["network_activity.device: requires type_id"]);
    assert_eq!(broken("", "type_uid", Some(1.into())), ["network_activity: type 1"]);
}

#[test]
fn lines_of_every_kind() {
    for (name, record) in full() {
        let line = line(&record, &host());
        assert_eq!(line, canonical::to_string(&serde_json::from_str(&line).unwrap()));
        insta::assert_snapshot!(name, line);
    }
}

#[test]
fn outcomes_have_their_codes() {
    let rows = [
        (Verdict::Allow, Mode::Enforce, Hook::Connect, [1, 1, 1], false),
        (Verdict::Allow, Mode::Monitor, Hook::Sendmsg, [1, 1, 6], false),
        (Verdict::Deny, Mode::Enforce, Hook::Connect, [2, 2, 5], false),
        (Verdict::Deny, Mode::Enforce, Hook::Sendmsg, [2, 2, 5], false),
        (Verdict::Deny, Mode::Monitor, Hook::Connect, [3, 17, 1], true),
        (Verdict::Deny, Mode::Monitor, Hook::Sendmsg, [3, 17, 6], true),
    ];
    for (verdict, mode, hook, codes, would_deny) in rows {
        let flow = Flow { hook, ..flow(verdict, Reason::NoRule, mode) };
        let line = line(&Record::Flow(flow), &host());
        let event: Value = serde_json::from_str(&line).unwrap();
        let found = ["action_id", "disposition_id", "activity_id"].map(|key| event[key].clone());
        assert_eq!(found, codes.map(Value::from), "{line}");
        let decision = &event["unmapped"]["governd"]["decision"];
        assert_eq!(decision["would_deny"], would_deny, "{line}");
        assert_eq!(decision["verdict"] == "deny", verdict == Verdict::Deny, "{line}");
    }
}

#[test]
fn a_name_is_stated_with_how_it_is_known() {
    for evidence in [Evidence::Dns, Evidence::Sni, Evidence::Both, Evidence::None] {
        let mut flow = flow(Verdict::Allow, Reason::Rule, Mode::Enforce);
        flow.destination = Some(Destination { evidence, ..destination() });
        let line = line(&Record::Flow(flow), &host());
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["dst_endpoint"]["hostname"], "api.openai.com");
        assert_eq!(event["unmapped"]["governd"]["name"]["evidence"], evidence.word());
    }
}

/// Records whose every field that others choose has so many bytes of a text.
fn hostile(unit: &str, bytes: usize) -> Vec<Record> {
    let long = unit.repeat(bytes.div_ceil(unit.len()));
    let text: Arc<str> = long.as_str().into();
    let labels = (0..200).map(|number| (format!("{number}{long}"), long.clone())).collect();
    let pod = Pod {
        namespace: Arc::clone(&text),
        name: Arc::clone(&text),
        service_account: Some(Arc::clone(&text)),
        controller: Some(Arc::clone(&text)),
        labels,
    };
    let image = Image { name: Arc::clone(&text), digest: Some(Arc::clone(&text)) };
    let workload = Workload {
        unit: Some(long.clone()),
        user_unit: Some(long.clone()),
        session: Some(long.clone()),
        container: Some(Container { runtime: Runtime::Containerd, id: long.clone() }),
        pod: Some(long.clone()),
        told: OnceLock::from(Told { image: Some(image), pod: None }),
        pod_facts: OnceLock::from(Arc::new(pod)),
    };
    let process = Process {
        workload: Some(Arc::new(workload)),
        trace: Some(Arc::clone(&text)),
        name: long.clone(),
        exe: Some(Exe { path: PathBuf::from(&long), device: u32::MAX, inode: u64::MAX }),
        args: Some(vec![long.clone(); 40].into()),
        user: Some(Arc::clone(&text)),
        cgroup: Some(Arc::clone(&text)),
        cgroup_id: Some(u64::MAX),
        started_ns: u64::MAX,
        ..(*actor().process).clone()
    };
    let ancestor = Ancestor { pid: 1, name: long.clone(), exe: Some(PathBuf::from(&long)) };
    let actor = Actor { process: Arc::new(process), lineage: vec![ancestor; 70].into() };
    let subject = Arc::new(Subject {
        started_by: Some(Arc::clone(&text)),
        id: u32::MAX,
        agent: Arc::clone(&text),
        owner: Some(Arc::clone(&text)),
        sponsor: Some(Arc::clone(&text)),
        risk: Some("critical"),
        approver: Some(Arc::clone(&text)),
    });
    let policy = PolicyRef { digest: Arc::clone(&text), generation: u64::MAX };
    let rule = RuleRef { id: Arc::clone(&text), text: Arc::clone(&text) };
    let destination = Destination {
        name: Some(Arc::clone(&text)),
        service: Some(Arc::clone(&text)),
        ..destination()
    };
    vec![
        Record::Flow(Flow {
            actor: actor.clone(),
            subject: Arc::clone(&subject),
            decision: Decision {
                rule: Some(rule),
                policy: policy.clone(),
                ..decision(Verdict::Deny, Reason::NoRule, Mode::Enforce)
            },
            destination: Some(destination.clone()),
            ..flow(Verdict::Deny, Reason::NoRule, Mode::Enforce)
        }),
        Record::Dns(DnsAnswer {
            actor: Some(actor.clone()),
            subject: Arc::clone(&subject),
            policy: policy.clone(),
            name: Arc::clone(&text),
            addresses: vec![("2001:db8::1".parse().unwrap(), u32::MAX); 300],
            ..answer()
        }),
        Record::Query(DnsQuery {
            name: Arc::clone(&text),
            flow: Flow { actor: actor.clone(), ..query(Mode::Enforce).flow },
            question_type: u16::MAX,
        }),
        Record::Exec(Exec { actor: actor.clone(), subject: Arc::clone(&subject), policy }),
        Record::Policy(PolicyChange {
            policy: None,
            sources: vec![long.clone(); 70],
            outcome: PolicyOutcome::Refused { errors: vec![long.clone(); 70] },
        }),
        Record::Finding(Finding {
            kind: Arc::clone(&text),
            uid: Arc::clone(&text),
            title: text,
            subject: Some(subject),
            actor: Some(actor),
            destination: Some(destination),
            evidence: vec![long; 70],
            ..finding()
        }),
    ]
}

#[test]
fn the_longest_record_is_cut_to_fit_and_says_what_was_cut() {
    for unit in ["a", "\u{1}", "😀", "\"", "sk-0123456789abcdef "] {
        for record in hostile(unit, 5_000) {
            let line = line(&record, &host());
            assert!(line.len() <= RECORD_BYTES_MAX, "{} bytes", line.len());
            assert_eq!(validate(&line), Vec::<String>::new());
            let event: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(event["metadata"]["is_truncated"], true);
            assert!(event["metadata"]["untruncated_size"].as_u64() > Some(32));
            let cut = event["unmapped"]["governd"]["cut"].as_array().unwrap();
            assert!(!cut.is_empty(), "{line}");
            assert!(line.contains("…[cut "), "{line}");
            assert!(!event["message"].is_null());
        }
    }
}

#[test]
fn a_long_argument_alone_is_cut_alone() {
    let mut flow = flow(Verdict::Allow, Reason::Rule, Mode::Enforce);
    let args = vec!["agent".to_owned(), "x".repeat(5_000)].into();
    let process = Process { args: Some(args), ..(*flow.actor.process).clone() };
    flow.actor.process = Arc::new(process);
    let (record, mut text) = (Record::Flow(flow), String::new());
    assert!(record.values().write_command_line(&mut text));
    assert!(text.starts_with("agent xxx") && text.ends_with(" bytes]"), "{text}");
    assert!(text.len() <= personal::VALUE_BYTES_MAX);
    let event: Value = serde_json::from_str(&line(&record, &host())).unwrap();
    assert!(event["metadata"]["is_truncated"].is_null());
}

#[test]
fn ids_are_version_seven_ordered_and_repeatable() {
    let host = host();
    let at = |logged_ms, sequence| host.uid(&Stamp { logged_ms, sequence, ..stamp() });
    for sequence in [0, 1, 0xffff, 1 << 24, (1 << 42) - 1] {
        assert_eq!(index_of(&at(1_763_640_000_123, sequence)), sequence);
    }
    assert_eq!(at(5, 9), at(5, 9));
    assert_eq!(at(5, 9).get_version_num(), 7);
    assert_eq!(at(5, 9).get_timestamp().unwrap().to_unix(), (0, 5_000_000));
    let sequences = [0, 1, 63, 64, (1 << 24) - 1, 1 << 24, 1 << 30, 1 << 38, (1 << 42) - 1];
    let ids: Vec<Uuid> = sequences.iter().map(|sequence| at(5, *sequence)).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    assert!(ids.last() < Some(&at(6, 0)));
    let other = Host::new(Context { boot_id: "another".into(), ..facts() });
    assert_ne!(other.uid(&stamp()), host.uid(&stamp()));
}

/// Every kind, with a text and numbers in whatever others choose.
fn with(text: &str, number: u64) -> Vec<Record> {
    let shared: Arc<str> = text.into();
    let mut records = hostile(if text.is_empty() { " " } else { text }, 1);
    records.extend(full().into_iter().map(|(_, record)| record));
    records.extend(minimal());
    for record in &mut records {
        match record {
            Record::Flow(flow) | Record::Query(DnsQuery { flow, .. }) => {
                let mut process = (*flow.actor.process).clone();
                process.args = Some([text.to_owned(), format!("--token={text}")].into());
                process.started_ns = number;
                process.cgroup = Some(Arc::clone(&shared));
                flow.actor.process = Arc::new(process);
                Arc::make_mut(&mut flow.subject).agent = Arc::clone(&shared);
                flow.path = Some(Arc::clone(&shared));
                flow.cookie = number;
                if let Some(to) = &mut flow.destination {
                    to.said = Some(Said {
                        source: "tls",
                        name: None,
                        alpn: vec![text.to_owned()],
                        has_ech: number.is_multiple_of(2),
                        refusal: None,
                    });
                }
            }
            Record::Loss(loss) => {
                loss.detail = Some(Arc::clone(&shared));
                loss.count = number;
            }
            Record::Policy(change) => change.sources = vec![text.to_owned()],
            Record::Finding(finding) => finding.evidence = vec![text.to_owned()],
            _ => {}
        }
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn lines_of_any_content_are_canonical_valid_and_short_enough(
        text in any::<String>(),
        number in any::<u64>(),
    ) {
        for record in with(&text, number) {
            let line = line(&record, &host());
            let event: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&line, &canonical::to_string(&event));
            prop_assert_eq!(validate(&line), Vec::<String>::new());
            prop_assert!(line.len() <= RECORD_BYTES_MAX);
        }
    }
}
