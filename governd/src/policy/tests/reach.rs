//! What changes between two policies: exactly the pairs whose verdict differs.

use std::net::IpAddr;

use governd_common::verdict::{Reason, Verdict};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    host::TestHost,
    property::{address, compile_with, config, name, policy},
};
use crate::policy::{
    compile::Surroundings,
    ids::Ids,
    image::Compiled,
    lineage, load,
    observed::Observed,
    reach::{AgentChange, Reach, changes, flow_changes},
    said::Settings,
    tables::ImageTables,
    value::{Target, network::Network},
    whole::Asker,
};

const FLOWS: usize = 50;

#[derive(Clone, Debug)]
enum Where {
    Name(String),
    Address(IpAddr),
}

/// The verdict, and the tier of the rule that gives it, if one does.
fn verdict(
    compiled: &Compiled,
    subject: u32,
    to: &Where,
    port: u16,
    protocol: u8,
) -> (Verdict, Option<&'static str>) {
    let subject = compiled.agent(subject).map_or(0, |agent| agent.subject);
    let mut tables = ImageTables::new(&compiled.image);
    let asker = Asker { subject, port, protocol };
    let decision = match to {
        Where::Name(name) => asker.to_name(&mut tables, name, None),
        Where::Address(address) => asker.to_address(&mut tables, *address),
    };
    let is_by_rule = matches!(decision.reason, Reason::Rule | Reason::Approval | Reason::Halt);
    let rule = compiled.rule(decision.rule).filter(|_| is_by_rule);
    (decision.verdict, rule.map(|rule| rule.tier.word()))
}

/// What a policy has rules of the subject on.
fn targets(compiled: &Compiled, subject: u32) -> Vec<String> {
    let subject = compiled.agent(subject).map_or(0, |agent| agent.subject);
    let members: Vec<u32> = compiled.members(subject).map(|facts| facts.subject).collect();
    let blocks = compiled.image.blocks.iter().filter(|block| members.contains(&block.0));
    blocks.filter_map(|block| compiled.sets.get(&block.1)).map(|text| text.to_string()).collect()
}

/// The entry of a report that has to speak of a destination.
fn entry(old: &Compiled, new: &Compiled, (before, after): (u32, u32), to: &Where) -> String {
    let mut all = targets(old, before);
    all.extend(targets(new, after));
    let parsed = all.iter().map(|text| Target::parse(text).unwrap());
    match to {
        Where::Name(name) => {
            let fitting = parsed.filter_map(|target| match target {
                Target::Name(pattern) if pattern.matches(name) => {
                    Some((!pattern.is_wildcard(), pattern.labels(), pattern.to_string()))
                }
                _ => None,
            });
            fitting.max().map_or_else(|| "other names".to_owned(), |(_, _, text)| text)
        }
        Where::Address(address) => {
            let resolvers = old.image.resolvers.iter().chain(&new.image.resolvers);
            let resolvers =
                resolvers.map(|one| Network::host(IpAddr::V6(std::net::Ipv6Addr::from(one.bytes))));
            let special = ["127.0.0.0/8", "::1", "::", "0.0.0.0"];
            let special = special.map(|text| Network::parse(text).unwrap());
            let networks = parsed.filter_map(|target| match target {
                Target::Network(network) => Some(network),
                Target::Name(_) => None,
            });
            let all = networks.chain(resolvers).chain(special);
            let fitting = all.filter(|network| network.contains(*address));
            match fitting.max_by_key(Network::mapped_prefix).map(|network| network.to_string()) {
                Some(text) if text == "0.0.0.0/0" => "other IPv4 addresses".to_owned(),
                Some(text) if text == "::/0" => "other IPv6 addresses".to_owned(),
                None if address.is_ipv4() => "other IPv4 addresses".to_owned(),
                None => "other IPv6 addresses".to_owned(),
                Some(text) => text,
            }
        }
    }
}

/// What the report says of a pair.
fn reported(
    report: &[AgentChange],
    (agent, started_by): (&str, &[String]),
    entry: &str,
    port: u16,
    protocol: u8,
) -> Option<Said> {
    let word = match protocol {
        6 => "tcp",
        17 => "udp",
        _ => "other",
    };
    let is_it = |change: &&AgentChange| change.agent == agent && change.started_by == started_by;
    let change = report.iter().find(is_it)?;
    let is_there = |one: &&Reach| {
        one.destination == entry
            && (one.ports.0..=one.ports.1).contains(&port)
            && one.protocols.contains(&word)
    };
    let shifts = change.changes.iter().map(|shift| &shift.reach).filter(is_there).count();
    let gains = change.gains.iter().filter(is_there).count();
    let losses = change.loses.iter().filter(is_there).count();
    match (gains, losses, shifts) {
        (1, 0, 0) => Some(Said::Gain),
        (0, 1, 0) => Some(Said::Loss),
        (0, 0, 1) => Some(Said::Shift),
        (0, 0, 0) => None,
        several => panic!("{entry} is there {several:?} times"),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Said {
    Gain,
    Loss,
    Shift,
}

/// Who, and who started it, if that is another agent; where to.
type Pair = (Option<usize>, Option<usize>, Where, u16, u8);

fn pair() -> impl Strategy<Value = Pair> {
    let to = prop_oneof![name().prop_map(Where::Name), address().prop_map(Where::Address)];
    let ports = select(vec![0_u16, 1, 53, 80, 443, 444, 500, 65_535]);
    let agent = || prop::option::weighted(0.85, 0..3_usize);
    (agent(), agent(), to, ports, select(vec![6_u8, 17, 132]))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_report_has_exactly_the_pairs_whose_verdict_changes(
        old in policy(), new in policy(), pairs in vec(pair(), FLOWS)
    ) {
        let mut ids = Ids::default();
        let subjects: Vec<u32> = (0..3).map(|one| ids.subject(&format!("agent-{one}"))).collect();
        let compiled = compile_with(&old, &mut ids).zip(compile_with(&new, &mut ids));
        let Some((before, after)) = compiled else {
            return Err(TestCaseError::reject("more port ranges than a block holds"));
        };
        let report = changes(&before, &after, &Settings::new());
        for (agent, by, to, port, protocol) in pairs {
            let by = by.filter(|by| agent.is_some_and(|agent| agent != *by));
            let lineage: Vec<u32> = by.into_iter().chain(agent).map(|one| subjects[one]).collect();
            let subject = |policy: &Compiled| match lineage.as_slice() {
                [] => 0,
                [agent] => policy.agent(*agent).map_or(0, |_| *agent),
                several => lineage::end(&policy.image, several),
            };
            let (old_one, new_one) = (subject(&before), subject(&after));
            let is_known = |policy: &Compiled, subject: u32| match lineage.len() {
                2 => policy.members(subject).count() == 2,
                _ => lineage.is_empty() || subject != 0,
            };
            if !is_known(&before, old_one) && !is_known(&after, new_one) {
                continue;
            }
            let (was, old_tier) = verdict(&before, old_one, &to, port, protocol);
            let (is, new_tier) = verdict(&after, new_one, &to, port, protocol);
            let tiers = old_tier.zip(new_tier);
            let expected = match (was, is) {
                (Verdict::Deny, Verdict::Allow) => Some(Said::Gain),
                (Verdict::Allow, Verdict::Deny) => Some(Said::Loss),
                _ => tiers.filter(|(old, new)| old != new).map(|_| Said::Shift),
            };
            let agent = agent.map_or_else(
                || "unregistered".to_owned(), |agent| format!("agent-{agent}")
            );
            let by: Vec<String> = by.iter().map(|by| format!("agent-{by}")).collect();
            let entry = entry(&before, &after, (old_one, new_one), &to);
            let found = reported(&report, (&agent, &by), &entry, port, protocol);
            // Other proofs under the same tier are said, too.
            let found = found.filter(|said| *said != Said::Shift || expected.is_some());
            prop_assert_eq!(found, expected, "{} {:?} {:?} {} {}:{}\n{}\n---\n{}\n{:#?}",
                agent, by, to, entry, port, protocol, old.yaml(), new.yaml(), report);
        }
    }
}

const OLD: &str = "\
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: bot}
spec:
  owner: {name: Dana Smith, mail: dana@acme.example}
  match: [{exe: /a}]
  egress:
    rules:
    - {allow: [api.openai.com, '*.acme.example'], ports: [443], protocol: tcp}
    - {allow: [10.0.0.0/8]}
";

fn compile(text: &str, ids: &mut Ids) -> Compiled {
    let host = TestHost::new(&[("/a", 1)]);
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    load(&[("p.yaml", text)]).unwrap().compile(&around, ids).unwrap()
}

fn words(report: &[AgentChange]) -> String {
    let mut out = String::new();
    for change in report {
        let AgentChange { agent, started_by, presence, mode, gains, loses, .. } = change;
        let by = started_by.iter().map(|by| format!(" by {by}")).collect::<String>();
        out += &format!("{agent}{by} {presence} {} {}\n", mode.0, mode.1);
        out.extend(gains.iter().map(|one| format!("gains {one}\n")));
        out.extend(loses.iter().map(|one| format!("loses {one}\n")));
    }
    out
}

#[test]
fn a_report_speaks_of_who_gains_or_loses_what() {
    let mut ids = Ids::default();
    let old = compile(OLD, &mut ids);
    assert!(changes(&old, &compile(OLD, &mut ids), &Settings::new()).is_empty());
    let text = OLD
        .replace("api.openai.com", "api.anthropic.com")
        .replace("10.0.0.0/8]", "10.0.0.0/8], ports: [1-1000]")
        .replace("    rules:\n", "    rules:\n    - deny: [payroll.acme.example, 10.1.0.0/16]\n")
        .replace("  match:", "  mode: enforce\n  match:");
    let new = compile(&text, &mut ids);
    insta::assert_snapshot!(words(&changes(&old, &new, &Settings::new())));
    let none = compile("", &mut ids);
    insta::assert_snapshot!(words(&changes(&new, &none, &Settings::new())));
}

#[test]
fn flows_that_would_be_decided_otherwise_are_found() {
    let mut ids = Ids::default();
    let old = compile(OLD, &mut ids);
    let new = compile(&OLD.replace("api.openai.com", "api.anthropic.com"), &mut ids);
    let flow = |agent: &str, name: Option<&str>, address: &str, port: u16| {
        let mut flow = Observed { count: 3, ..Observed::by(agent) };
        (flow.key.name, flow.key.port) = (name.map(Into::into), port);
        flow.key.address = address.parse().unwrap();
        flow
    };
    let flows = [
        flow("bot", Some("api.openai.com"), "192.0.2.1", 443),
        flow("bot", Some("api.openai.com"), "10.0.0.1", 443),
        flow("bot", Some("api.anthropic.com"), "192.0.2.2", 443),
        flow("bot", Some("wiki.acme.example"), "192.0.2.3", 443),
        flow("bot", None, "10.0.0.1", 22),
        flow("unregistered", Some("api.openai.com"), "192.0.2.1", 443),
    ];
    let found = flow_changes(&old, &new, &flows, &TestHost::new(&[("/a", 1)]));
    let found: Vec<String> = found
        .iter()
        .map(|one| format!("{} {} {} {}", one.agent, one.destination, one.verdict, one.rule))
        .collect();
    assert_eq!(
        found,
        [
            "bot api.openai.com port 443/tcp deny bot/default",
            "bot api.anthropic.com port 443/tcp allow bot/egress/1",
        ]
    );
}

/// Two agents; the second is recognised below the first only, if so.
fn two(coder: &str, tool: &str, is_below: bool) -> String {
    let agent = |name: &str, parent: &str, rules: &str| {
        format!(
            "apiVersion: governd.dev/v1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  owner: \
             {{name: Dana, mail: d@acme.example}}\n  match: [{{exe: /{name}{parent}}}]\n  egress: \
             {{rules: [{{allow: [{rules}]}}]}}\n---\n"
        )
    };
    let parent = if is_below { ", parent: coder" } else { "" };
    agent("coder", "", coder) + &agent("tool", parent, tool)
}

fn compile_two(text: &str, ids: &mut Ids) -> Compiled {
    let host = TestHost::new(&[("/coder", 1), ("/tool", 2)]);
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    load(&[("p.yaml", text)]).unwrap().compile(&around, ids).unwrap()
}

#[test]
fn what_agents_start_gains_and_loses_what_all_of_them_may() {
    let mut ids = Ids::default();
    let old = compile_two(&two("a.example, b.example", "b.example, c.example", true), &mut ids);
    let same = compile_two(&two("a.example, b.example", "b.example, c.example", true), &mut ids);
    assert!(changes(&old, &same, &Settings::new()).is_empty());
    // What the tool may by itself makes no difference as long as the coder may not.
    let new = compile_two(&two("a.example, c.example", "b.example, c.example", true), &mut ids);
    assert_eq!(
        words(&changes(&old, &new, &Settings::new())),
        "coder kept monitor monitor\n\
         gains c.example every port/tcp, by coder/egress/1\n\
         loses b.example every port/tcp, by coder/default\n\
         tool by coder kept monitor monitor\n\
         gains c.example every port/tcp, by coder/egress/1\n\
         loses b.example every port/tcp, by coder/default\n"
    );
    // A document for what the coder starts takes away from that.
    let alone = two("a.example, b.example", "", true);
    let (alone, _) = alone.split_once("---").unwrap();
    let alone = compile_two(alone, &mut ids);
    let report = changes(&alone, &old, &Settings::new());
    let of_both = report.iter().find(|change| change.started_by == ["coder"]).unwrap();
    assert_eq!((of_both.presence, of_both.gains.len()), ("kept", 0));
    let lost: Vec<String> = of_both.loses.iter().map(ToString::to_string).collect();
    assert_eq!(lost, ["a.example every port/tcp, by tool/default"]);

    // Flows are tried as what started them says.
    let host = TestHost::default();
    let mut flow = Observed::by("tool");
    flow.key.started_by.push("coder".into());
    flow.key.name = Some("b.example".into());
    let found = flow_changes(&old, &new, std::slice::from_ref(&flow), &host);
    let found: Vec<_> = found.iter().map(|one| (one.verdict, &*one.rule)).collect();
    assert_eq!(found, [("deny", "coder/default")]);
    flow.key.started_by.clear();
    assert!(flow_changes(&old, &new, &[flow], &host).is_empty());
}
