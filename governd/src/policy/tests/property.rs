//! Compiled tables and `decide()` against the plain evaluator, on random policies and flows.
//! `PROPTEST_CASES` sets the number of policies; each is asked about [`FLOWS`] flows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use governd_common::{
    address::Address,
    decide::{Flow, decide},
    key::BindingKey,
    verdict::{Mode, Reason, Verdict},
};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    host::{TestHost, endpoints as endpoints_of},
    reference::{PlainAgent, PlainDecision, PlainFlow, PlainGroup, PlainPolicy, PlainRule, TIERS},
};
use crate::policy::{
    compile::{Surroundings, Under},
    diagnostic::Code,
    ids::Ids,
    image::Compiled,
    lifecycle::{Cause, Lapse},
    load,
    tables::ImageTables,
    value::approval::Fallback,
};

const CASES: u32 = 48;
pub(super) const FLOWS: usize = 50;
const NOW_NS: u64 = 1_000;

/// Few labels, so that names meet.
pub(super) fn name() -> impl Strategy<Value = String> {
    let label = select(vec!["a", "b", "c"]);
    (vec(label, 0..4), select(vec!["x", "y"]))
        .prop_map(|(labels, top)| labels.into_iter().chain([top]).collect::<Vec<_>>().join("."))
}

/// Few bits that differ, so that networks nest.
pub(super) fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = (select(vec![10_u8, 11, 127]), 0..4_u8, 0..4_u8)
        .prop_map(|(a, b, c)| IpAddr::V4(Ipv4Addr::new(a, b, 0, c)));
    let v6 = (select(vec![0_u16, 0x2001, 0xfe80]), 0..4_u16, 0..3_u16)
        .prop_map(|(a, b, c)| IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, c)));
    prop_oneof![v4, v6]
}

fn network() -> impl Strategy<Value = String> {
    (address(), any::<prop::sample::Index>()).prop_map(|(address, index)| match address {
        IpAddr::V4(v4) => {
            let prefix = [0, 7, 8, 14, 15, 16, 30, 31, 32][index.index(9)];
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            format!("{}/{prefix}", Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let prefix = [0, 3, 16, 30, 31, 32, 64, 80, 127, 128][index.index(10)];
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            format!("{}/{prefix}", Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    })
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => name(),
        3 => name().prop_map(|name| format!("*.{name}")),
        2 => network(),
        1 => address().prop_map(|address| address.to_string()),
    ]
}

fn ports() -> impl Strategy<Value = Option<Vec<(u16, u16)>>> {
    let range = (select(vec![1_u16, 53, 80, 443]), select(vec![0_u16, 1, 27, 400]))
        .prop_map(|(first, more)| (first, first + more));
    prop::option::of(vec(range, 0..3))
}

/// Two of them; the first may include the second.
fn groups() -> impl Strategy<Value = Vec<PlainGroup>> {
    let group = || {
        (vec(target(), 0..3), prop::option::weighted(0.3, ports()))
            .prop_map(|(targets, ports)| PlainGroup { targets, ports: ports.flatten() })
    };
    (group(), group(), any::<bool>()).prop_map(|(mut first, second, includes)| {
        first.targets.extend(includes.then(|| "group:g1".to_owned()));
        vec![first, second]
    })
}

fn rule() -> impl Strategy<Value = PlainRule> {
    let target = prop_oneof![
        6 => target(),
        1 => select(vec!["group:g0".to_owned(), "group:g1".to_owned()]),
    ];
    let ports = ports();
    let protocol = select(vec!["any", "tcp", "udp"]);
    let verify = select(vec!["both", "sni", "dns"]);
    (select(TIERS.to_vec()), vec(target, 0..4), ports, protocol, verify, any::<bool>()).prop_map(
        |(tier, targets, ports, protocol, verify, quic)| PlainRule {
            tier,
            targets,
            ports,
            protocol,
            // Together they are an error.
            verify: if tier == "approve" && verify == "sni" { "both" } else { verify },
            quic,
        },
    )
}

fn agent() -> impl Strategy<Value = PlainAgent> {
    let mode = prop::option::of(select(vec!["monitor", "enforce"]));
    (mode, any::<bool>(), vec(rule(), 0..6)).prop_map(|(mode, default_allow, rules)| PlainAgent {
        mode,
        default_allow,
        rules,
    })
}

pub(super) fn policy() -> impl Strategy<Value = PlainPolicy> {
    (
        select(vec!["monitor", "enforce"]),
        select(vec!["monitor", "deny-ai", "deny"]),
        any::<bool>(),
        vec(address(), 0..3),
        vec(prop_oneof![name(), name().prop_map(|name| format!("*.{name}"))], 0..4),
        vec(agent(), 1..4),
        groups(),
    )
        .prop_map(
            |(mode, unregistered, loopback_allow, resolvers, endpoints, agents, groups)| {
                PlainPolicy {
                    mode,
                    unregistered,
                    loopback_allow,
                    resolvers,
                    endpoints,
                    agents,
                    groups,
                }
            },
        )
}

pub(super) fn flow() -> impl Strategy<Value = PlainFlow> {
    let names = || vec((name(), prop::bool::weighted(0.8)), 0..4);
    (
        prop::option::weighted(0.85, 0..3_usize),
        address(),
        names(),
        names(),
        select(vec![53_u16, 80, 443, 444, 500, 1, 0]),
        select(vec![6_u8, 17, 132]),
    )
        .prop_map(|(agent, address, own, host, port, protocol)| PlainFlow {
            agent,
            address,
            own: distinct(own),
            host: distinct(host),
            port,
            protocol,
        })
}

/// A name is bound once, alive or not. Names that share a set take the place of the first of them,
/// which matters only for which of two equal rules is named: live ones come first.
fn distinct(names: Vec<(String, bool)>) -> Vec<(String, bool)> {
    let mut seen = std::collections::HashSet::new();
    let mut names: Vec<_> =
        names.into_iter().filter(|(name, _)| seen.insert(name.clone())).collect();
    names.sort_by_key(|(_, is_alive)| !is_alive);
    names
}

pub(super) fn compile(policy: &PlainPolicy) -> Option<(Compiled, Vec<u32>)> {
    let mut ids = Ids::default();
    let subjects = (0..policy.agents.len()).map(|one| ids.subject(&format!("agent-{one}")));
    let subjects = subjects.collect();
    compile_with(policy, &mut ids).map(|compiled| (compiled, subjects))
}

pub(super) fn compile_with(policy: &PlainPolicy, ids: &mut Ids) -> Option<Compiled> {
    compile_under(policy, ids, &Under::default())
}

fn compile_under(policy: &PlainPolicy, ids: &mut Ids, under: &Under<'_>) -> Option<Compiled> {
    let documents = load(&[("policy.yaml", policy.yaml())]).unwrap();
    let endpoints: Vec<(&str, &str, &'static str)> =
        policy.endpoints.iter().map(|pattern| (pattern.as_str(), "AI", "model-api")).collect();
    let endpoints = endpoints_of(&endpoints);
    let host = TestHost::new(&[("/agent-0", 1), ("/agent-1", 2), ("/agent-2", 3)]);
    let around = Surroundings { host: &host, endpoints: &endpoints, model_ports: &[], mode: None };
    match documents.compile_under(&around, ids, under) {
        Ok(compiled) => Some(compiled),
        Err(diagnostics) => {
            assert!(diagnostics.iter().all(|one| one.code == Code::Limit), "{diagnostics}");
            None
        }
    }
}

pub(super) fn decide_by_tables(
    compiled: &Compiled,
    subject: u32,
    flow: &PlainFlow,
) -> PlainDecision {
    let mut tables = ImageTables::new(&compiled.image);
    let address = Address::from(flow.address);
    for (owner, names) in [(subject, &flow.own), (BindingKey::HOST, &flow.host)] {
        for (name, alive) in names {
            let expires_ns = if *alive { NOW_NS + 1 } else { NOW_NS };
            tables.bind(owner, name, address, expires_ns);
        }
    }
    let PlainFlow { port, protocol, .. } = *flow;
    let decision = decide(&tables, &Flow { subject, address, port, protocol, now_ns: NOW_NS });
    PlainDecision {
        allow: decision.verdict == Verdict::Allow,
        reason: decision.reason,
        enforce: decision.mode == Mode::Enforce,
        quiet: decision.quiet,
        rule: compiled.rule(decision.rule).unwrap().id.to_string(),
    }
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES)
}

/// As many as [`cases`]; policies that a block has no place for are no case.
pub(super) fn config() -> ProptestConfig {
    ProptestConfig {
        cases: cases(),
        max_global_rejects: 1_024 + cases(),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn tables_decide_as_the_words_say(policy in policy(), flows in vec(flow(), FLOWS)) {
        let Some((compiled, subjects)) = compile(&policy) else {
            return Err(TestCaseError::reject("more port ranges than a block holds"));
        };
        for mut flow in flows {
            flow.agent = flow.agent.map(|agent| agent % policy.agents.len());
            let subject = flow.agent.map_or(0, |agent| subjects[agent]);
            let expected = policy.decide(&flow);
            let found = decide_by_tables(&compiled, subject, &flow);
            prop_assert_eq!(found, expected, "{:?}\n{}", flow, policy.yaml());
        }
    }

    #[test]
    fn an_approval_that_ends_opens_nothing_and_closes_what_the_document_says(
        policy in policy(),
        flows in vec(flow(), FLOWS),
        fallback in select(vec![Fallback::Notify, Fallback::Approve, Fallback::Halt]),
    ) {
        let lapse = |agent: usize| Lapse {
            agent: format!("agent-{agent}").into(),
            cause: Cause::Expired,
            fallback,
        };
        let lapses: Vec<Lapse> = (0..policy.agents.len()).map(lapse).collect();
        let under = Under { lapses: &lapses, ..Under::default() };
        let mut ids = Ids::default();
        let before = compile_with(&policy, &mut ids);
        let (Some(before), Some(after)) = (before, compile_under(&policy, &mut ids, &under)) else {
            return Err(TestCaseError::reject("more port ranges than a block holds"));
        };
        for mut flow in flows {
            flow.agent = flow.agent.map(|agent| agent % policy.agents.len());
            let subject = flow.agent.map_or(0, |agent| ids.subject(&format!("agent-{agent}")));
            let was = decide_by_tables(&before, subject, &flow);
            let is = decide_by_tables(&after, subject, &flow);
            let needs_no_rule =
                |reason: Reason| matches!(reason, Reason::Loopback | Reason::Resolver);
            let holds = if subject == 0 || fallback == Fallback::Notify {
                is.allow == was.allow
            } else if needs_no_rule(was.reason) {
                is == was
            } else {
                !is.allow || needs_no_rule(is.reason)
            };
            prop_assert!(holds, "{:?}\n{:?}\n{}", was, is, policy.yaml());
        }
    }
}

/// Of rules on one name the one with the stricter tier counts, also once both have the same.
#[test]
fn rules_whose_tiers_become_equal_keep_their_order() {
    let rule = |tier, quic| PlainRule {
        tier,
        targets: vec!["x".into()],
        ports: None,
        protocol: "udp",
        verify: "both",
        quic,
    };
    let flow = PlainFlow {
        agent: Some(0),
        address: IpAddr::from([10, 0, 0, 0]),
        own: vec![("x".into(), true)],
        host: Vec::new(),
        port: 443,
        protocol: 17,
    };
    for first_opens in [false, true] {
        let rules = vec![rule("allow", first_opens), rule("notify", !first_opens)];
        let policy = PlainPolicy {
            mode: "enforce",
            unregistered: "monitor",
            loopback_allow: false,
            resolvers: Vec::new(),
            endpoints: Vec::new(),
            agents: vec![PlainAgent { mode: None, default_allow: false, rules }],
            groups: Vec::new(),
        };
        let (cause, fallback) = (Cause::Expired, Fallback::Notify);
        let lapses = [Lapse { agent: "agent-0".into(), cause, fallback }];
        let mut ids = Ids::default();
        for lapses in [&[][..], &lapses] {
            let under = Under { lapses, ..Under::default() };
            let compiled = compile_under(&policy, &mut ids, &under).unwrap();
            let decision = decide_by_tables(&compiled, ids.subject("agent-0"), &flow);
            assert_eq!(decision.allow, !first_opens, "{lapses:?}: {decision:?}");
        }
    }
}
