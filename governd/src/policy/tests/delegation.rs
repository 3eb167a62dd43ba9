//! Agents that others start: which subjects there are, what each may reach, and what is refused.

use std::collections::{BTreeMap, HashMap};

use governd_common::{
    decide::{Flow, decide},
    key::GrantKey,
    table::subject_flag,
    verdict::{Mode, Reason, Verdict},
};
use proptest::{collection::vec, prelude::*, sample::subsequence};

use super::{
    host::TestHost,
    property::{FLOWS, compile as compile_plain, config, decide_by_tables, flow, policy},
    reference::PlainDecision,
};
use crate::policy::{
    compile::{Surroundings, Under},
    diagnostic::{Code, Diagnostics, Severity},
    effective::effective,
    ids::Ids,
    image::Compiled,
    lifecycle::{Cause, Lapse},
    load,
    tables::{Controls, ImageTables},
    value::approval::Fallback,
};

const HOST: &str = "apiVersion: governd.dev/v1\nkind: HostPolicy\nmetadata: {name: host}\nspec: \
                    {mode: enforce, resolvers: {host: false}}\n";

/// An agent that runs `/NAME`; further fields and rules as they are.
fn agent(name: &str, fields: &str, parent: Option<&str>, rules: &str) -> String {
    let parent = parent.map(|parent| format!(", parent: {parent}")).unwrap_or_default();
    format!(
        "---\napiVersion: governd.dev/v1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  owner: \
         {{name: Dana, mail: d@acme.example}}\n  match: [{{exe: /{name}{parent}}}]\n{fields}  \
         egress: {{rules: [{rules}]}}\n"
    )
}

const APPROVED: &str = "  approval: {by: {name: Lee, mail: l@acme.example}, on: 2026-01-02}\n";

fn host(names: &[&str]) -> TestHost {
    let paths: Vec<String> = names.iter().map(|name| format!("/{name}")).collect();
    let numbered: Vec<(&str, u64)> =
        paths.iter().zip(1..).map(|(path, inode)| (path.as_str(), inode)).collect();
    TestHost::new(&numbered)
}

fn compile_under(
    text: &str,
    names: &[&str],
    ids: &mut Ids,
    under: &Under<'_>,
) -> Result<Compiled, Diagnostics> {
    let documents = load(&[("policy.yaml", text)])?;
    let host = host(names);
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    documents.compile_under(&around, ids, under)
}

fn compile(text: &str, names: &[&str]) -> Result<(Compiled, Ids), Diagnostics> {
    let mut ids = Ids::default();
    compile_under(text, names, &mut ids, &Under::default()).map(|compiled| (compiled, ids))
}

/// Who becomes what: `coder starts tool: coder, tool`.
fn starts(compiled: &Compiled) -> Vec<String> {
    let names = |subject: u32| {
        let names: Vec<&str> = compiled.members(subject).map(|facts| &*facts.name).collect();
        names.join(", ")
    };
    let of = |&((subject, agent), next): &_| {
        format!("{} starts {}: {}", names(subject), names(agent), names(next))
    };
    let mut all: Vec<String> = compiled.image.delegations.iter().map(of).collect();
    all.sort_unstable();
    all
}

/// The subject of an agent that another one started.
fn started(compiled: &Compiled, agent: &str, by: &[&str]) -> u32 {
    let is_it = |facts: &&crate::policy::image::AgentFacts| {
        let mut above: Vec<&str> = facts.started_by.iter().map(|name| &**name).collect();
        above.sort_unstable();
        *facts.name == *agent && above == by
    };
    compiled.started.iter().find(is_it).unwrap().subject
}

fn verdict(compiled: &Compiled, subject: u32, address: &str, under: Controls) -> (Verdict, Reason) {
    let tables = ImageTables::new(&compiled.image).under(under);
    let address = address.parse::<std::net::IpAddr>().unwrap().into();
    let decision = decide(&tables, &Flow { subject, address, port: 443, protocol: 6, now_ns: 1 });
    (decision.verdict, decision.reason)
}

#[test]
fn who_starts_whom_is_known_by_name_and_only_where_they_can_be_recognised() {
    let two = agent("coder", "", None, "") + &agent("tool", "", None, "");
    let rows: [(String, &[&str], &[&str]); 4] = [
        (
            two.clone(),
            &["coder", "tool"],
            &["coder starts tool: coder, tool", "tool starts coder: tool, coder"],
        ),
        // Nobody can be what is not on this host.
        (two, &["coder"], &[]),
        (
            agent("coder", "", None, "") + &agent("tool", "", Some("coder"), ""),
            &["coder", "tool"],
            &["coder starts tool: coder, tool"],
        ),
        (
            agent("a", "", None, "")
                + &agent("b", "", Some("a"), "")
                + &agent("c", "", Some("b"), ""),
            &["a", "b", "c"],
            &["a starts b: a, b", "a, b starts c: a, b, c"],
        ),
    ];
    for (text, names, expected) in rows {
        let (compiled, _) = compile(&(HOST.to_owned() + &text), names).unwrap();
        assert_eq!(starts(&compiled), expected, "{text}");
        let tool = compiled.agents.iter().find(|facts| *facts.name == *"tool");
        let below = tool.map(|facts| effective(&compiled, facts).below).unwrap_or_default();
        let is_below = expected.contains(&"coder starts tool: coder, tool");
        assert_eq!(below, if is_below { &["coder"][..] } else { &[] });
    }
}

#[test]
fn own_rights_need_both_and_their_approvals_and_end_with_either() {
    let own = format!("  delegation: own\n{APPROVED}");
    let text = |coder: &str, tool: &str| {
        HOST.to_owned() + &agent("coder", coder, None, "") + &agent("tool", tool, None, "")
    };
    let (both, alone) = (
        ["coder starts tool: coder, tool", "tool starts coder: tool, coder"],
        ["coder starts tool: tool", "tool starts coder: coder"],
    );
    let rows = [
        (own.as_str(), own.as_str(), None, alone),
        (&own, "", None, both),
        ("", &own, None, both),
        (&own, "  delegation: own\n", None, both),
        (&own, &own, Some("coder"), both),
        (&own, &own, Some("tool"), both),
        (&own, "  delegation: intersection\n", None, both),
    ];
    for (coder, tool, lapsed, expected) in rows {
        let lapses: Vec<Lapse> = lapsed
            .map(|agent| Lapse {
                agent: agent.into(),
                cause: Cause::Expired,
                fallback: Fallback::Notify,
            })
            .into_iter()
            .collect();
        let under = Under { lapses: &lapses, ..Under::default() };
        let (text, mut ids) = (text(coder, tool), Ids::default());
        let compiled = compile_under(&text, &["coder", "tool"], &mut ids, &under).unwrap();
        assert_eq!(starts(&compiled), expected, "{coder}{tool}{lapsed:?}");
    }
}

#[test]
fn of_a_chain_those_are_left_out_that_agreed_to_it() {
    let own = format!("  delegation: own\n{APPROVED}");
    let text = HOST.to_owned()
        + &agent("a", "", None, "")
        + &agent("b", &own, Some("a"), "")
        + &agent("c", &own, Some("b"), "");
    let (compiled, _) = compile(&text, &["a", "b", "c"]).unwrap();
    assert_eq!(
        starts(&compiled),
        ["a starts b: a, b", "a, b starts c: a, c", "a, c starts b: a, b"]
    );
}

#[test]
fn chains_end_where_they_are_too_long_or_too_many_and_that_is_told() {
    let names: Vec<String> = (0..40).map(|number| format!("agent-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut text = HOST.to_owned();
    names.iter().for_each(|name| text.push_str(&agent(name, "", None, "")));
    text.push_str(&agent("child", "", Some("agent-39"), ""));
    let all: Vec<&str> = names.iter().copied().chain(["child"]).collect();
    let (compiled, _) = compile(&text, &all).unwrap();
    assert_eq!(compiled.started.len(), super::super::compile::delegation::CHAINS_MAX);
    assert!(starts(&compiled).contains(&"agent-39 starts child: agent-39, child".to_owned()));
    let told: Vec<_> = compiled.warnings.iter().filter(|one| one.code == Code::Limit).collect();
    assert_eq!(told.len(), 1, "{}", compiled.warnings);

    let mut text = HOST.to_owned() + &agent("a0", "", None, "");
    let names = ["a0", "a1", "a2", "a3", "a4"];
    for pair in names.windows(2) {
        text.push_str(&agent(pair[1], "", Some(pair[0]), ""));
    }
    let (compiled, _) = compile(&text, &names).unwrap();
    let longest = compiled.started.iter().map(|facts| facts.started_by.len()).max();
    assert_eq!(longest, Some(3));
    assert!(!starts(&compiled).iter().any(|one| one.contains("a4")));
    let told: Vec<String> = compiled.warnings.iter().map(ToString::to_string).collect();
    let told = told.iter().filter(|one| one.contains("a process has at most 4 agents"));
    let expected = "policy.yaml:43:30: warning[limit]: `a4` is not recognised where `a0`, `a1`, \
                    `a2` and `a3` started it: a process has at most 4 agents";
    assert_eq!(told.map(|one| one.lines().next().unwrap()).collect::<Vec<_>>(), [expected]);
}

#[test]
fn a_chain_of_an_earlier_policy_is_what_is_left_of_it() {
    let text = |agents: &[&str]| {
        agents.iter().fold(HOST.to_owned(), |text, name| {
            text + &agent(name, "", None, "{allow: [10.0.0.1]}")
        })
    };
    let (before, mut ids) = compile(&text(&["coder", "tool"]), &["coder", "tool"]).unwrap();
    let subject = started(&before, "tool", &["coder"]);
    for left in ["coder", "tool"] {
        let names = ["coder", "tool"];
        let compiled = compile_under(&text(&[left]), &names, &mut ids, &Under::default()).unwrap();
        assert_eq!(&*compiled.agent(subject).unwrap().name, left);
        let found = verdict(&compiled, subject, "10.0.0.1", Controls::default());
        assert_eq!(found, (Verdict::Allow, Reason::Rule));
    }
    let none = compile_under(HOST, &[], &mut ids, &Under::default()).unwrap();
    assert!(none.agent(subject).is_none());
}

#[test]
fn what_people_said_of_either_holds_for_both() {
    let text = HOST.to_owned()
        + &agent("coder", "", None, "{approve: [10.0.0.1]}, {allow: [10.0.0.2]}")
        + &agent("tool", "", None, "{approve: [10.0.0.1]}, {allow: [10.0.0.2]}");
    let (compiled, mut ids) = compile(&text, &["coder", "tool"]).unwrap();
    let subject = started(&compiled, "tool", &["coder"]);
    let set = *compiled.sets.iter().find(|(_, text)| &***text == "10.0.0.1").unwrap().0;
    let grant = |agent: &str, ids: &mut Ids| {
        (GrantKey { subject: ids.subject(agent), set, port: 443, protocol: 6 }, u64::MAX)
    };
    let (first, second) = (grant("coder", &mut ids), grant("tool", &mut ids));
    let rows = [
        (vec![], (Verdict::Deny, Reason::Approval)),
        (vec![first], (Verdict::Deny, Reason::Approval)),
        (vec![second], (Verdict::Deny, Reason::Approval)),
        (vec![first, second], (Verdict::Allow, Reason::Granted)),
    ];
    for (grants, expected) in rows {
        let under = Controls { grants: grants.into_iter().collect(), ..Controls::default() };
        assert_eq!(verdict(&compiled, subject, "10.0.0.1", under), expected);
    }
    for quarantined in [ids.subject("coder"), ids.subject("tool"), subject] {
        let under = Controls { quarantined: [quarantined].into(), grants: HashMap::new() };
        let found = verdict(&compiled, subject, "10.0.0.2", under);
        assert_eq!(found, (Verdict::Deny, Reason::Quarantine));
    }
}

#[test]
fn what_hooks_without_a_destination_go_by_is_that_of_enforced_members() {
    let text = "apiVersion: governd.dev/v1\nkind: HostPolicy\nmetadata: {name: host}\nspec: {}\n"
        .to_owned()
        + &agent("coder", "  mode: enforce\n", None, "")
            .replace("egress: {", "egress: {unix: any, dns: any, ")
        + &agent("tool", "  mode: monitor\n", None, "");
    let (compiled, _) = compile(&text, &["coder", "tool"]).unwrap();
    let subjects: BTreeMap<u32, _> = compiled.image.subjects.iter().copied().collect();
    let settings = subjects[&started(&compiled, "tool", &["coder"])];
    assert_eq!(Mode::from_byte(settings.mode), Mode::Enforce);
    assert_ne!(settings.flags & subject_flag::LOCAL_SOCKETS, 0);
    assert_eq!(settings.flags & subject_flag::DNS_RESTRICT, 0);
}

#[test]
fn faulty_delegations_are_explained() {
    let own = format!("  delegation: own\n{APPROVED}");
    let rows = [
        (agent("a", "", Some("b"), ""), "error", Code::UnknownParent),
        (agent("a", "", Some("a"), ""), "error", Code::ParentCycle),
        (
            agent("a", "", Some("b"), "") + &agent("b", "", Some("a"), ""),
            "error",
            Code::ParentCycle,
        ),
        (agent("a", "  delegation: mine\n", None, ""), "error", Code::BadWord),
        (agent("a", "", Some("B"), ""), "error", Code::BadName),
        (
            agent("a", "", None, "").replace("exe: /a", "parent: b") + &agent("b", "", None, ""),
            "error",
            Code::EmptyMatch,
        ),
        (agent("a", &own, None, ""), "warning", Code::IdleDelegation),
        (agent("a", &own, None, "") + &agent("b", "", None, ""), "warning", Code::IdleDelegation),
        (
            agent("a", &own, Some("c"), "")
                + &agent("b", &own, None, "")
                + &agent("c", "", None, ""),
            "warning",
            Code::IdleDelegation,
        ),
        (
            agent("a", "  delegation: own\n", None, "") + &agent("b", &own, None, ""),
            "warning",
            Code::IdleDelegation,
        ),
    ];
    for (text, severity, code) in rows {
        let told = match load(&[("policy.yaml", &text)]) {
            Ok(documents) => documents.warnings,
            Err(faults) => faults,
        };
        let mut meant = told.iter().filter(|one| one.code == code);
        let found = meant.next().unwrap_or_else(|| panic!("{code:?} is not told of: {told}"));
        assert_eq!(found.severity.word(), severity);
        assert!(meant.all(|one| one.severity == Severity::Error || severity == "warning"));
    }
    let fine = agent("a", &own, None, "") + &agent("b", &own, Some("a"), "");
    let documents = load(&[("policy.yaml", fine)]).unwrap();
    assert!(documents.warnings.iter().all(|one| one.code != Code::IdleDelegation));
}

/// How strict a decision is, by words alone.
fn strictness(decision: &PlainDecision) -> usize {
    match (decision.allow, decision.enforce) {
        (true, _) => 0,
        (false, false) => 1,
        (false, true) => 2,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_an_agent_starts_reaches_what_the_words_of_both_allow(
        policy in policy(),
        chain in subsequence(vec![0_usize, 1, 2], 2..=3).prop_shuffle(),
        flows in vec(flow(), FLOWS),
    ) {
        let Some((compiled, _)) = compile_plain(&policy) else {
            return Err(TestCaseError::reject("more port ranges than a block holds"));
        };
        let agents = policy.agents.len();
        let mut chain: Vec<usize> = chain.into_iter().map(|one| one % agents).collect();
        let last = chain.pop().unwrap();
        chain.retain(|one| *one != last);
        chain.sort_unstable();
        chain.dedup();
        if chain.is_empty() {
            return Err(TestCaseError::reject("one agent"));
        }
        let names: Vec<String> = chain.iter().map(|one| format!("agent-{one}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let subject = started(&compiled, &format!("agent-{last}"), &names);
        for flow in flows {
            let members = chain.iter().chain([&last]).map(|agent| {
                let mut flow = flow.clone();
                flow.agent = Some(*agent);
                policy.decide(&flow)
            });
            let members: Vec<PlainDecision> = members.collect();
            let found = decide_by_tables(&compiled, subject, &flow);
            let strictest = members.iter().map(strictness).max().unwrap();
            prop_assert_eq!(strictness(&found), strictest, "{:?}\n{}", flow, policy.yaml());
            // What is said of it is what one of the strictest says.
            let is_said = |one: &PlainDecision| {
                let same = (one.reason, &one.rule) == (found.reason, &found.rule);
                same && strictness(one) == strictest && (one.quiet || !found.quiet)
            };
            prop_assert!(members.iter().any(is_said), "{:?}\n{:?}", found, members);
        }
    }
}
