//! What a comparison says of policies that let the same pass, and less surely.

use super::host::TestHost;
use crate::policy::{
    Documents,
    compile::Surroundings,
    ids::Ids,
    image::Compiled,
    load,
    observed::Observed,
    reach::{AgentChange, changes, flow_changes},
    recalled::RecalledHost,
    said,
    value::container::ContainerFacts,
};

const OLD: &str = "\
apiVersion: governd.dev/v1
kind: HostPolicy
metadata: {name: all}
spec: {resolvers: {host: false}}
---
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: bot}
spec:
  owner: {name: Dana Smith, mail: dana@acme.example}
  match: [{exe: /a}]
  limits: {halt: {connections_per_minute: 600}}
  review_by: 2027-01-01
  on_expired: halt
  egress:
    rules:
    - {allow: [api.example, 10.0.0.0/8], ports: [443], protocol: tcp}
    - {approve: [ask.example], protocol: tcp}
    - {deny: [no.example], protocol: tcp}
";

fn compile(text: &str, ids: &mut Ids) -> (Documents, Compiled) {
    let host = TestHost {
        users: [("svc".to_owned(), 7)].into(),
        ..TestHost::new(&[("/a", 1), ("/b", 2)])
    };
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    let documents = load(&[("p.yaml", text)]).unwrap();
    let compiled = documents.compile(&around, ids).unwrap();
    (documents, compiled)
}

fn compared(old: &str, new: &str) -> Vec<String> {
    let mut ids = Ids::default();
    let ((before, old), (after, new)) = (compile(old, &mut ids), compile(new, &mut ids));
    let said = said::changes(&before.policy, &after.policy);
    let names = (&*old.host_policy.name, &*new.host_policy.name);
    let host = said::host_changes((&before.policy, names.0), (&after.policy, names.1));
    let host = host.iter().map(|one| format!("host {}: {:?} {:?}", one.field, one.old, one.new));
    let mut lines: Vec<String> = host.collect();
    for change in changes(&old, &new, &said) {
        let AgentChange { agent, gains, loses, changes, settings, .. } = change;
        lines.extend(gains.iter().map(|one| format!("{agent} gains {one}")));
        lines.extend(loses.iter().map(|one| format!("{agent} loses {one}")));
        lines.extend(
            changes.iter().map(|it| format!("{agent} {}: {} {}", it.reach, it.old, it.new)),
        );
        let setting =
            |one: &said::Setting| format!("{agent} {}: {:?} {:?}", one.field, one.old, one.new);
        lines.extend(settings.iter().map(setting));
    }
    lines
}

/// What changes where a part of the policy is another one.
fn turned(part: &str, other: &str) -> Vec<String> {
    assert!(OLD.contains(part), "{part}");
    compared(OLD, &OLD.replace(part, other))
}

#[test]
fn other_tiers_and_weaker_proofs_are_changes_of_destinations() {
    assert!(turned("Dana", "Dana").is_empty());
    let rule = "ports: [443], protocol: tcp}";
    let api = "bot api.example port 443/tcp, by bot/egress/1: allow";
    let net = "bot 10.0.0.0/8 port 443/tcp, by bot/egress/1: allow";
    let rows: [(&str, &str, &[&str]); 9] = [
        (
            rule,
            "ports: [443], protocol: tcp, verify: dns}",
            &[&format!("{api} allow, verified by dns")],
        ),
        (
            rule,
            "ports: [443], protocol: tcp, verify: sni}",
            &[&format!("{api} allow, verified by sni")],
        ),
        (
            rule,
            "ports: [443], protocol: tcp, plaintext: allow}",
            &[&format!("{api} allow, plaintext too")],
        ),
        // It would be UDP.
        (rule, "ports: [443], protocol: tcp, quic: allow}", &[]),
        ("allow: [api", "notify: [api", &[&format!("{api} notify"), &format!("{net} notify")]),
        (
            "approve: [ask",
            "deny: [ask",
            &["bot ask.example every port/tcp, by bot/egress/2: approve deny"],
        ),
        ("deny: [no", "halt: [no", &["bot no.example every port/tcp, by bot/egress/3: deny halt"]),
        (
            "deny: [no",
            "approve: [no",
            &["bot no.example every port/tcp, by bot/egress/3: deny approve"],
        ),
        (
            "ask.example], protocol: tcp}",
            "ask.example], protocol: tcp, verify: dns}",
            &["bot ask.example every port/tcp, by bot/egress/2: approve approve, verified by dns"],
        ),
    ];
    for (part, other, expected) in rows {
        assert_eq!(turned(part, other), expected, "{other}");
    }
    let quic = "ports: [443], quic: allow}";
    let found = compared(&OLD.replace(rule, "ports: [443]}"), &OLD.replace(rule, quic));
    let gained = ["api.example", "10.0.0.0/8"]
        .map(|to| format!("bot gains {to} port 443/udp, by bot/egress/1"));
    assert_eq!(found, gained);
}

#[test]
fn what_documents_say_beside_rules_is_compared_field_by_field() {
    let rows = [
        ("egress:", "egress:\n    unix: any", "bot unix:"),
        ("egress:", "egress:\n    dns: any", "bot dns: Some(\"restrict\") Some(\"any\")"),
        ("egress:", "egress:\n    accepted: deny", "bot accepted: Some(\"allow\") Some(\"deny\")"),
        ("egress:", "egress:\n    via: [gw.example]", "bot via: None Some(\"gw.example\")"),
        (
            "  limits: {halt: {connections_per_minute: 600}}\n",
            "",
            "bot limits.halt: Some(\"connections_per_minute 600\") None",
        ),
        ("{exe: /a}", "{exe: /b, user: 7}", "bot match: Some(\"exe /a\") Some(\"exe /b, user 7\")"),
        (
            "Dana Smith, mail: dana@",
            "Lee, mail: lee@",
            "bot owner: Some(\"Dana Smith <dana@acme.example>\") Some(\"Lee <lee@acme.example>\")",
        ),
        (
            "on_expired: halt",
            "on_expired: notify",
            "bot on_expired: Some(\"halt\") Some(\"notify\")",
        ),
        ("  on_expired: halt\n", "  on_expired: halt\n  on_drift: approve\n", "bot on_drift:"),
        ("2027-01-01", "2028-01-01", "bot review_by: Some(\"2027-01-01\") Some(\"2028-01-01\")"),
        ("  egress:", "  delegation: own\n  egress:", "bot delegation: None Some(\"own\")"),
        (
            "  egress:",
            "  provenance: {versions: ['1']}\n  egress:",
            "bot versions: None Some(\"1\")",
        ),
        ("spec: {res", "spec: {on_log_failure: deny-ai, res", "host on_log_failure:"),
        ("spec: {res", "spec: {unclassified: deny-ai, res", "host unclassified:"),
        (
            "spec: {res",
            "spec: {selftest: {every: 1h}, res",
            "host selftest.every: None Some(\"3600 s\")",
        ),
        (
            "{host: false}",
            "{host: false, addresses: []}, exporters: []",
            "host exporters: Some(\"all\") Some(\"none\")",
        ),
    ];
    for (part, other, expected) in rows {
        let found = turned(part, other);
        assert_eq!(found.len(), 1, "{other}: {found:?}");
        assert!(found[0].starts_with(expected), "{other}: {found:?}");
    }
    // The order of a list says nothing.
    let two = |one: &str, other: &str| {
        OLD.replace("[{exe: /a}]", &format!("[{{exe: {one}}}, {{exe: {other}}}]"))
    };
    assert!(compared(&two("/a", "/b"), &two("/b", "/a")).is_empty());
}

#[test]
fn who_was_no_agent_is_who_the_policy_recognises_now() {
    let flow = |agent: &str, exe: Option<&str>, user: Option<&str>| {
        let mut flow = Observed::by(agent);
        flow.key.name = Some("else.example".into());
        (flow.key.exe, flow.key.user) = (exe.map(Into::into), user.map(Into::into));
        flow
    };
    let found = |old: &str, new: &str, flow: Observed| {
        let host = TestHost {
            users: [("svc".to_owned(), 7)].into(),
            ..TestHost::new(&[("/a", 1), ("/link-to-a", 1), ("/b", 2)])
        };
        let host = RecalledHost::new(&host);
        let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
        let mut ids = Ids::default();
        let mut compile =
            |text: &str| load(&[("p.yaml", text)]).unwrap().compile(&around, &mut ids).unwrap();
        let (old, new) = (compile(old), compile(new));
        let found = flow_changes(&old, &new, &[flow], &host);
        let words = |one: &crate::policy::reach::FlowChange| {
            format!("{} {:?} {} {}", one.agent, one.recognised, one.verdict, one.rule)
        };
        found.iter().map(words).collect::<Vec<_>>()
    };
    let denied = ["unregistered Some(\"bot\") deny bot/default"];
    let (none, with_user) = ("", OLD.replace("{exe: /a}", "{exe: /a, user: svc}"));
    let with_image = OLD.replace("{exe: /a}", "{image: ghcr.io/acme/bot, namespace: agents}");
    let with_cgroup = OLD.replace("{exe: /a}", "{exe: /a, cgroup: /x}");
    assert_eq!(found(none, OLD, flow("unregistered", Some("/a"), None)), denied);
    assert_eq!(found(none, OLD, flow("unregistered", Some("/link-to-a"), Some("root"))), denied);
    assert_eq!(found(none, &with_user, flow("unregistered", Some("/a"), Some("svc"))), denied);
    assert_eq!(found(none, &with_user, flow("unregistered", Some("/a"), Some("7"))), denied);
    for (new, exe, user) in [
        (OLD, Some("/b"), None),
        (OLD, None, None),
        (&*with_user, Some("/a"), Some("8")),
        (&*with_user, Some("/a"), None),
        (&*with_cgroup, Some("/a"), None),
    ] {
        assert!(found(none, new, flow("unregistered", exe, user)).is_empty(), "{exe:?} {user:?}");
    }
    // Of a container it is what that was which counts, and not what ran in it.
    let within = |image: &str| {
        let mut flow = flow("unregistered", Some("/a"), None);
        let (image, namespace) = (Some(image.into()), Some("agents".into()));
        flow.key.container = Some(ContainerFacts { image, namespace, ..ContainerFacts::default() });
        flow
    };
    assert_eq!(found(none, &with_image, within("ghcr.io/acme/bot:2")), denied);
    assert!(found(none, &with_image, within("ghcr.io/acme/tool")).is_empty());
    assert!(found(none, &with_image, flow("unregistered", Some("/a"), None)).is_empty());
    assert!(found(none, OLD, within("ghcr.io/acme/bot:2")).is_empty());
    // Both policies recognise it.
    assert!(found(OLD, OLD, flow("unregistered", Some("/a"), None)).is_empty());
    // An agent of another name.
    let renamed = OLD.replace("name: bot", "name: robot");
    let expected: [&str; 0] = [];
    assert_eq!(found(OLD, &renamed, flow("bot", Some("/a"), None)), expected);
    let loose = renamed.replace("egress:", "egress:\n    default: allow");
    let allowed = ["bot Some(\"robot\") allow robot/default"];
    assert_eq!(found(OLD, &loose, flow("bot", Some("/a"), None)), allowed);
}
