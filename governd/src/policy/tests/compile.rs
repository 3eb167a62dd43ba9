//! What compiling gives, in tables small enough to read.

use std::time::{Duration, Instant};

use governd_common::{
    decide::Hit,
    limits::RULES_PER_BLOCK_MAX,
    table::{settings_flag, subject_flag},
    verdict::{Mode, Verdict},
};

use super::host::{TestHost, endpoints};
use crate::catalog::Catalog;
use crate::policy::{
    Documents,
    compile::Surroundings,
    diagnostic::{Code, Diagnostics},
    diff::Change,
    ids::Ids,
    image::Compiled,
    limits::SUBJECTS_MAX,
    load,
    tables::ImageTables,
    value::Tier,
};

fn agent(name: &str, entries: &str, egress: &str) -> String {
    format!(
        "---\napiVersion: governd.dev/v1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  \
         owner: {{name: Dana, mail: d@acme.example}}\n  match: {entries}\n  egress: {egress}\n"
    )
}

fn host_policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: governd.dev/v1\nkind: HostPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

fn documents(text: &str) -> Documents {
    load(&[("p.yaml", text)]).unwrap()
}

fn compile_with(text: &str, host: &TestHost, ids: &mut Ids) -> Result<Compiled, Diagnostics> {
    let endpoints = endpoints(&[
        ("*.openai.com", "OpenAI", "model-api"),
        ("api.anthropic.com", "Anthropic", "model-api"),
    ]);
    documents(text)
        .compile(&Surroundings { host, endpoints: &endpoints, model_ports: &[], mode: None }, ids)
}

fn compile(text: &str) -> Result<Compiled, Diagnostics> {
    let host = TestHost::new(&[("/a", 1), ("/b", 2), ("/link-to-a", 1)]);
    compile_with(text, &host, &mut Ids::default())
}

fn subject_flags(compiled: &Compiled, subject: u32) -> u16 {
    compiled.image.subjects.iter().find(|(id, _)| *id == subject).unwrap().1.flags
}

#[test]
fn no_document_at_all_watches_everything_and_stops_nothing() {
    let compiled = compile("").unwrap();
    assert_eq!(compiled.agents.len(), 1);
    assert_eq!(&*compiled.agents[0].name, "unregistered");
    assert_eq!(compiled.agents[0].mode, Mode::Monitor);
    assert_eq!(compiled.image.names.len(), 2);
    let flags = subject_flags(&compiled, 0);
    let expected = subject_flag::QUIET_DEFAULT
        | subject_flag::LOOPBACK
        | subject_flag::RAW_SOCKETS
        | subject_flag::LOCAL_SOCKETS;
    assert_eq!(flags, expected);
    let ids: Vec<&str> = compiled.rules.iter().map(|rule| &*rule.id).collect();
    let expected = ["unregistered/default", "unregistered/ai/openai", "unregistered/ai/anthropic"];
    assert_eq!(ids, expected);
    assert!(compiled.rules.iter().all(|rule| rule.tier == Tier::Allow));
}

#[test]
fn every_pattern_of_the_catalogue_is_one() {
    let endpoints = crate::app::catalogue::known(&Catalog::built_in()).endpoints;
    let host = TestHost::default();
    let around = Surroundings { host: &host, endpoints: &endpoints, model_ports: &[], mode: None };
    let compiled = documents("").compile(&around, &mut Ids::default()).unwrap();
    assert!(compiled.warnings.is_empty() && compiled.image.names.len() > 50);
}

#[test]
fn an_agent_without_rules_is_denied_everything() {
    let compiled = compile(&agent("bot", "[{exe: /a}]", "{}")).unwrap();
    let (_, subject) = compiled.image.subjects[1];
    assert_eq!(Verdict::from_byte(subject.default_verdict), Verdict::Deny);
    assert_eq!(&*compiled.rule(subject.default_rule).unwrap().id, "bot/default");
}

#[test]
fn rules_have_stable_names_words_and_places() {
    let text = agent(
        "bot",
        "[{exe: /a}]",
        "{rules: [{allow: [API.OpenAI.com.], ports: [443, 80], protocol: tcp}, {deny: ['*.x.example', '::ffff:10.0.0.0/104']}, {allow: [a.b, c.d, e.f, g.h, i.j, k.l]}]}",
    );
    let compiled = compile(&text).unwrap();
    let lines: Vec<String> = compiled
        .rules
        .iter()
        .filter(|rule| rule.subject != 0)
        .map(|rule| {
            let (file, line) = rule.source.clone().unwrap();
            format!("{} {file}:{line} {}", rule.id, rule.text)
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    bot/default p.yaml:4 deny what no rule matches
    bot/egress/1 p.yaml:8 allow api.openai.com ports 80, 443/tcp
    bot/egress/2 p.yaml:8 deny *.x.example, 10.0.0.0/8
    bot/egress/3 p.yaml:8 allow a.b, c.d, e.f, g.h and 2 more
    ");
}

#[test]
fn selectors_are_ordered_from_the_most_to_the_least_specific() {
    let text = [
        agent("by-user", "[{user: 7}]", "{}"),
        agent("by-cgroup", "[{cgroup: /x}]", "{}"),
        agent("by-deep-cgroup", "[{cgroup: /x/y}]", "{}"),
        agent("by-exe", "[{exe: /a}]", "{}"),
        agent("by-two", "[{cgroup: /x, user: 7}]", "{}"),
        agent("by-all", "[{exe: /a, cgroup: /x, user: root}]", "{}"),
    ]
    .concat();
    let mut host = TestHost::new(&[("/a", 1)]);
    host.users.insert("root".into(), 0);
    host.cgroups.insert("/x".into(), vec![10, 11]);
    host.cgroups.insert("/x/y".into(), vec![12]);
    let compiled = compile_with(&text, &host, &mut Ids::default()).unwrap();
    let names: Vec<&str> = compiled
        .image
        .selectors
        .iter()
        .map(|subject| &*compiled.agent(*subject).unwrap().name)
        .collect();
    let expected = ["by-all", "by-two", "by-exe", "by-deep-cgroup", "by-cgroup", "by-user"];
    assert_eq!(names, expected);
    assert_eq!(compiled.image.selector_words, 1);
    assert_eq!(compiled.image.flags, settings_flag::CLASSIFY_AT_CONNECT);
    let any = compiled.image.any.map(|set| set.words[0]);
    assert_eq!(any, [0b111010, 0b011100, 0b100100]);
    let exe = compiled.image.exes[0];
    assert_eq!((exe.0, exe.1.words[0]), ((8, 1), 0b111111));
    let uids: Vec<(u32, u64)> =
        compiled.image.uids.iter().map(|(uid, set)| (*uid, set.words[0])).collect();
    assert_eq!(uids, [(0, 0b011101), (7, 0b111110)]);
    let cgroups: Vec<(u64, u64)> =
        compiled.image.cgroups.iter().map(|(id, set)| (*id, set.words[0])).collect();
    assert_eq!(cgroups, [(10, 0b110111), (11, 0b110111), (12, 0b101100)]);
}

#[test]
fn what_does_not_exist_here_matches_nothing_and_is_a_warning() {
    let compiled = compile(&agent("bot", "[{exe: /gone}, {user: nobody-here}]", "{}")).unwrap();
    assert!(compiled.image.exes.is_empty() && compiled.image.uids.is_empty());
    let any: Vec<u64> = compiled.image.any.iter().map(|set| set.words[0]).collect();
    assert_eq!(any, [0b10, 0b01, 0b11], "only what says nothing about a thing is in its `any`");
    insta::assert_snapshot!(compiled.warnings, @r"
    p.yaml:7:17: warning[no-executable]: `/gone` does not exist on this host
    hint: nothing is recognised by it until it exists
    p.yaml:7:32: warning[unknown-user]: there is no user `nobody-here` on this host
    hint: nothing is recognised by it until it exists
    ");
}

#[test]
fn entries_about_a_script_are_none_of_the_kernels() {
    let text = [
        agent("by-script", "[{exe: /python, script: [/a.py, /gone.py]}]", "{}"),
        agent("by-both", "[{exe: /python, user: 7}]", "{}"),
        agent("by-exe", "[{exe: /python}]", "{}"),
    ]
    .concat();
    let host = TestHost::new(&[("/python", 1), ("/a.py", 2)]);
    let compiled = compile_with(&text, &host, &mut Ids::default()).unwrap();
    let image = &compiled.image;
    let names: Vec<&str> =
        image.selectors.iter().map(|id| &*compiled.agent(*id).unwrap().name).collect();
    assert_eq!(names, ["by-script", "by-both", "by-exe"]);
    assert_eq!(image.asking_script.words[0], 0b001);
    let scripts: Vec<_> = image.scripts.iter().map(|(id, set)| (*id, set.words[0])).collect();
    assert_eq!(scripts, [((8, 2), 0b111)]);
    assert_eq!(image.without_scripts(&image.exes[0].1).words[0], 0b110);
    assert_eq!(image.flags, 0, "exec alone answers the others");
    insta::assert_snapshot!(compiled.warnings, @r"
    p.yaml:7:42: warning[no-script]: `/gone.py` does not exist on this host
    hint: nothing is recognised by it until it exists
    ");
}

#[test]
fn two_agents_that_can_claim_one_process_are_an_error() {
    let same = [agent("one", "[{exe: /a}]", "{}"), agent("two", "[{exe: [/b, /a]}]", "{}")];
    insta::assert_snapshot!(compile(&same.concat()).unwrap_err());
    let rows = [
        ("one file by two paths", "[{exe: /a}]", "[{exe: /link-to-a}]", true),
        ("other files", "[{exe: /a}]", "[{exe: /b}]", false),
        ("one says more", "[{exe: /a}]", "[{exe: /a, user: 1}]", false),
        ("other scripts", "[{script: /a}]", "[{script: /b}]", false),
        ("one script", "[{exe: /a, script: /b}]", "[{exe: /a, script: [/a, /b]}]", true),
        ("one script by two paths", "[{script: /a}]", "[{script: /link-to-a}]", true),
        ("other users", "[{exe: /a, user: 2}]", "[{exe: /a, user: 1}]", false),
        ("one user", "[{exe: [/a, /b], user: 1}]", "[{exe: /a, user: 1}]", true),
        ("one user, other files", "[{exe: /b, user: 1}]", "[{exe: /a, user: 1}]", false),
        ("globs that meet", "[{cgroup: /x/a*}]", "[{cgroup: '/x/*b'}]", true),
        ("globs that meet, as many", "[{cgroup: '/x/a*'}]", "[{cgroup: '/x/*'}]", true),
        ("a glob and a name", "[{cgroup: '/x/a*'}]", "[{cgroup: /x/ab}]", false),
        ("globs that cannot meet", "[{cgroup: '/x/a*'}]", "[{cgroup: '/x/b*'}]", false),
        ("cgroups one below the other", "[{cgroup: /x}]", "[{cgroup: /x/y}]", false),
    ];
    for (title, first, second, is_ambiguous) in rows {
        let text = [agent("one", first, "{}"), agent("two", second, "{}")].concat();
        let codes = match compile(&text) {
            Ok(_) => Vec::new(),
            Err(diagnostics) => diagnostics.iter().map(|one| one.code).collect(),
        };
        let expected = if is_ambiguous { vec![Code::AmbiguousMatch] } else { Vec::new() };
        assert_eq!(codes, expected, "{title}");
    }
}

#[test]
fn questions_are_restricted_where_the_default_denies() {
    for (egress, restricts, warns) in [
        ("{}", true, false),
        ("{default: deny}", true, false),
        ("{default: allow}", false, false),
        ("{default: deny, dns: any}", false, false),
        ("{default: allow, dns: restrict}", true, true),
    ] {
        let compiled = compile(&agent("bot", "[{exe: /a}]", egress)).unwrap();
        let flags = subject_flags(&compiled, 1);
        assert_eq!(flags & subject_flag::DNS_RESTRICT != 0, restricts, "{egress}");
        let codes: Vec<Code> = compiled.warnings.iter().map(|one| one.code).collect();
        assert_eq!(codes.contains(&Code::Unaskable), warns, "{egress}");
    }
}

#[test]
fn names_below_a_search_domain_may_be_asked_for_and_reach_nothing() {
    let rules = "{rules: [{allow: [api.example.com, '*.example.net']}, {deny: [no.example.com]}]}";
    let text = agent("bot", "[{exe: /a}]", rules);
    let host = TestHost { search_domains: vec!["corp.example".into()], ..TestHost::new(&[]) };
    let compiled = compile_with(&text, &host, &mut Ids::default()).unwrap();
    let speaks = |pattern: &str| {
        let (set, _) = compiled.sets.iter().find(|(_, text)| &***text == pattern)?;
        let mut blocks = compiled.image.blocks.iter();
        let (_, _, block) = blocks.find(|(subject, of, _)| *subject == 1 && of == set)?;
        let reaches = (0..=u16::MAX).any(|port| Hit::in_block(block, port, 6) != Hit::NONE);
        Some((block.speaks_for(), reaches))
    };
    assert_eq!(speaks("api.example.com"), Some((true, true)));
    assert_eq!(speaks("api.example.com.corp.example"), Some((true, false)));
    assert_eq!(speaks("*.example.net.corp.example"), Some((true, false)));
    assert_eq!(speaks("no.example.com"), Some((false, true)));
    assert_eq!(speaks("no.example.com.corp.example"), None);
}

#[test]
fn the_host_policy_that_says_most_about_the_host_counts() {
    let all = host_policy("all", "{hosts: ['*'], mode: monitor}");
    let web = host_policy("web", "{hosts: ['web-*'], mode: enforce, loopback: allow}");
    let text = [all.clone(), web.clone(), agent("bot", "[{exe: /a}]", "{}")].concat();
    let compiled = compile(&text).unwrap();
    assert_eq!(compiled.agents[1].mode, Mode::Enforce);
    let flags = subject_flag::LOOPBACK | subject_flag::DNS_RESTRICT;
    assert_eq!(subject_flags(&compiled, 1), flags);
    let other = TestHost { name: "db-1".into(), ..TestHost::default() };
    let compiled = compile_with(&text, &other, &mut Ids::default()).unwrap();
    assert_eq!(compiled.agents[1].mode, Mode::Monitor);
    assert_eq!(subject_flags(&compiled, 1), subject_flag::DNS_RESTRICT);
    let twice = [web, host_policy("web-too", "{hosts: ['WEB-*']}")].concat();
    insta::assert_snapshot!(compile(&twice).unwrap_err());
}

#[test]
fn a_mode_from_outside_takes_the_place_of_every_documents_mode() {
    let text =
        [host_policy("all", "{mode: enforce}"), agent("bot", "[{exe: /a}]\n  mode: enforce", "{}")]
            .concat();
    let host = TestHost::default();
    let around =
        Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: Some(Mode::Monitor) };
    let compiled = documents(&text).compile(&around, &mut Ids::default()).unwrap();
    assert!(compiled.agents.iter().all(|agent| agent.mode == Mode::Monitor));
}

#[test]
fn the_posture_for_what_is_no_agent() {
    let rows = [
        ("monitor", true, true, true),
        ("deny-ai", false, true, true),
        ("deny", false, false, false),
    ];
    for (posture, ai, default, is_quiet) in rows {
        let compiled = compile(&host_policy("h", &format!("{{unregistered: {posture}}}"))).unwrap();
        let (_, subject) = compiled.image.subjects[0];
        let allows = |verdict: u8| Verdict::from_byte(verdict) == Verdict::Allow;
        assert_eq!(allows(subject.default_verdict), default, "{posture}");
        assert_eq!(subject.flags & subject_flag::QUIET_DEFAULT != 0, is_quiet, "{posture}");
        assert_eq!(subject.flags & subject_flag::RAW_SOCKETS != 0, default, "{posture}");
        let blocks = compiled.image.blocks.iter().filter(|(subject, ..)| *subject == 0);
        assert!(blocks.clone().count() == 2, "{posture}");
        blocks.for_each(|(.., block)| assert_eq!(allows(block.entries[0].verdict), ai));
    }
}

#[test]
fn resolvers_are_the_hosts_and_the_documents_without_doubles() {
    let resolvers = vec!["10.0.0.2".parse().unwrap(), "::1".parse().unwrap()];
    let host = TestHost { resolvers, ..TestHost::default() };
    let with = |spec: &str| {
        let text = host_policy("h", spec);
        let compiled = compile_with(&text, &host, &mut Ids::default()).unwrap();
        compiled.image.resolvers.len()
    };
    assert_eq!(with("{}"), 2);
    assert_eq!(with("{resolvers: {addresses: [10.0.0.2, '::ffff:10.0.0.2', 10.0.0.3]}}"), 3);
    assert_eq!(with("{resolvers: {host: false}}"), 0);
    assert_eq!(with("{resolvers: {host: false, addresses: ['2001:db8::53']}}"), 1);
}

#[test]
fn resolver_processes_are_those_of_the_system_and_of_the_document() {
    let host = TestHost::new(&[("/usr/sbin/dnsmasq", 7), ("/usr/bin/dnsmasq", 7), ("/opt/f", 9)]);
    let with = |spec: &str| {
        let text = host_policy("h", spec);
        let compiled = compile_with(&text, &host, &mut Ids::default()).unwrap();
        let codes: Vec<Code> = compiled.warnings.iter().map(|one| one.code).collect();
        (compiled.image.resolver_exes, codes)
    };
    assert_eq!(with("{}"), (vec![(8, 7)], vec![]));
    let ours = with("{resolvers: {processes: [/opt/f, /usr/sbin/dnsmasq]}}");
    assert_eq!(ours, (vec![(8, 7), (8, 9)], vec![]));
    assert_eq!(with("{resolvers: {host: false, processes: [/opt/f]}}"), (vec![(8, 9)], vec![]));
    let missing = with("{resolvers: {host: false, processes: [/opt/g]}}");
    assert_eq!(missing, (vec![], vec![Code::NoExecutable]));
    let text = host_policy("h", "{resolvers: {processes: [f]}}");
    assert!(load(&[("p.yaml", &*text)]).is_err());
}

#[test]
fn more_port_ranges_than_a_block_holds_are_an_error_and_touching_ones_are_merged() {
    let ports = |step: usize| -> String {
        let list: Vec<String> =
            (0..=RULES_PER_BLOCK_MAX).map(|one| (1_000 + one * step).to_string()).collect();
        list.join(", ")
    };
    let text = |step| {
        let rules = format!("{{rules: [{{allow: [a.example], ports: [{}]}}]}}", ports(step));
        agent("bot", "[{exe: /a}]", &rules)
    };
    assert!(compile(&text(1)).is_ok());
    insta::assert_snapshot!(compile(&text(2)).unwrap_err());
}

#[test]
fn what_a_more_specific_rule_covers_takes_no_place() {
    let many: Vec<String> = (0..20)
        .map(|one| format!("{{allow: ['*.b.example'], ports: [{}]}}", one * 2 + 1))
        .collect();
    let rules = format!("{{rules: [{{allow: [a.b.example]}}, {}]}}", many.join(", "));
    let error = compile(&agent("bot", "[{exe: /a}]", &rules)).unwrap_err();
    assert_eq!(error.errors(), 1, "only the wildcard itself has too many: {error}");
}

#[test]
fn numbers_stay_the_same_when_the_policy_changes() {
    let mut ids = Ids::default();
    let host = TestHost::default();
    let with = |text: &str, ids: &mut Ids| compile_with(text, &host, ids).unwrap();
    let (a, b) = ("{rules: [{allow: [a.example]}]}", "{rules: [{allow: [b.example]}]}");
    let first =
        with(&[agent("one", "[{user: 1}]", a), agent("two", "[{user: 2}]", b)].concat(), &mut ids);
    let second = with(&agent("two", "[{user: 2}]", b), &mut ids);
    let subject = |compiled: &Compiled| {
        compiled.agents.iter().find(|agent| &*agent.name == "two").unwrap().subject
    };
    assert_eq!(subject(&first), subject(&second));
    let set = |compiled: &Compiled| ImageTables::new(&compiled.image).name_set("b.example");
    assert_eq!(set(&first), set(&second));
    let third = with(&agent("three", "[{user: 2}]", b), &mut ids);
    assert!(first.agent(third.agents[1].subject).is_none(), "a number is not given again");
    let change = Change::between(&first, &second);
    assert_eq!(change.agents, (2, 1));
    let removed: Vec<&str> = change.removed.iter().map(|(id, _)| &**id).collect();
    assert_eq!(removed, ["one/default", "one/egress/1"]);
    assert!(change.added.is_empty() && Change::between(&first, &first).is_empty());
}

#[test]
fn the_digest_is_of_what_is_meant_and_not_of_how_it_is_written() {
    let digest = |text: &str| compile(text).unwrap().digest.to_string();
    let one = agent("bot", "[{exe: /a}]", "{rules: [{allow: [a.example], ports: [80, 443]}]}");
    let other = host_policy("h", "{}");
    let same = "# a comment\napiVersion: governd.dev/v1\nkind: Agent\nmetadata:\n  name: bot\nspec:\n  \
        egress:\n    rules:\n    - ports: [\"443\", 80-80]\n      allow: [A.EXAMPLE.]\n  \
        match:\n  - exe: [/a]\n  owner:\n    mail: d@acme.example\n    name: Dana\n";
    assert_eq!(
        digest(&[one.clone(), other.clone()].concat()),
        digest(&[other, same.to_owned()].join("---\n"))
    );
    assert_ne!(digest(&one), digest(&one.replace("a.example", "b.example")));
    assert_ne!(digest(&one), digest(&one.replace("Dana", "Dora")));
    insta::assert_snapshot!(digest(&one), @"sha256:899a849c67c21aa2575351cff92058a91b8497a7f7140221591f34e125b57516");
}

#[test]
fn every_agent_beyond_the_limit_is_refused_and_not_dropped() {
    let one = |number| agent(&format!("a{number}"), &format!("[{{user: {number}}}]"), "{}");
    let half = |numbers: std::ops::Range<usize>| numbers.map(one).collect::<String>();
    let middle = SUBJECTS_MAX / 2;
    let sources = [("1.yaml", half(0..middle)), ("2.yaml", half(middle..SUBJECTS_MAX))];
    let host = TestHost::default();
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    let error = load(&sources).unwrap().compile(&around, &mut Ids::default()).unwrap_err();
    assert_eq!(error.iter().filter(|one| one.message.contains("agents")).count(), 1, "{error}");
    assert!(error.iter().all(|one| one.code == Code::Limit), "{error}");
}

/// What a build without optimisation does a part of.
const PART: usize = if cfg!(debug_assertions) { 10 } else { 1 };

/// A policy of 100,000 names and 10,000 networks, or a part of it, in files that are small enough.
fn large_policy() -> Vec<(String, String)> {
    let files = (0..10).map(|file| {
        let names = (0..10_000 / PART).map(|one| format!("n{one}.s{}.d{file}.example", one % 50));
        let networks =
            (0..1_000 / PART).map(|one| format!("10.{file}.{}.{}/32", one / 250, one % 250));
        let list = names.chain(networks).collect::<Vec<String>>().join(", ");
        let rules = format!(
            "{{rules: [{{allow: ['*.d{file}.example', 10.{file}.0.0/16], ports: [443]}}, \
             {{allow: [{list}]}}]}}"
        );
        let text = agent(&format!("bot-{file}"), &format!("[{{user: {file}}}]"), &rules);
        (format!("{file}.yaml"), text)
    });
    files.collect()
}

#[test]
fn a_large_policy_compiles_in_time() {
    let sources = large_policy();
    let documents = load(&sources).unwrap();
    let host = TestHost::default();
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    let started = Instant::now();
    let compiled = documents.compile(&around, &mut Ids::default()).unwrap();
    let took = started.elapsed();
    assert_eq!(compiled.image.names.len(), 100_000 / PART + 10);
    assert_eq!(compiled.image.networks.len(), 10_000 / PART + 10);
    assert_eq!(compiled.image.blocks.len(), 110_000 / PART + 20);
    // Far above what it takes; an algorithm that is not linear is farther above.
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn local_sockets_are_those_of_the_list_and_else_go_by_the_default() {
    let rows = [
        ("{default: deny}", None, Some(10)),
        ("{default: allow}", None, None),
        ("{default: allow, unix: []}", None, Some(0)),
        ("{unix: any}", None, None),
        ("{unix: [ordinary, /run/db.sock]}", Some("/run/db.sock"), Some(11)),
        ("{unix: /run/db.sock}", Some("/run/db.sock"), Some(1)),
    ];
    for (egress, socket, count) in rows {
        let compiled = compile(&agent("bot", "[{cgroup: /bot}]", egress)).unwrap();
        let is_any = subject_flags(&compiled, 1) & subject_flag::LOCAL_SOCKETS != 0;
        assert_eq!(is_any, count.is_none(), "{egress}");
        let sockets = &compiled.image.local_sockets;
        assert_eq!(sockets.len(), count.unwrap_or(0), "{egress}");
        let last = sockets.last().map(|(subject, socket)| (*subject, socket.to_string()));
        if let Some(socket) = socket {
            assert_eq!(last, Some((1, socket.to_owned())), "{egress}");
        }
    }
}
