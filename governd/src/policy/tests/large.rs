//! Policies that are larger than they look, and what of them has no place.

use std::sync::Arc;

use governd_common::table::RuleBlock;

use super::host::TestHost;
use crate::policy::{
    Documents,
    compile::Surroundings,
    diagnostic::{Code, Diagnostics},
    groups,
    ids::Ids,
    image::Compiled,
    limits::{DESTINATIONS_MAX, GROUP_MEMBERS_MAX, NAMES_MAX, PORT_RANGES_MAX},
    load,
    value::Target,
};

const MANY: usize = 100_000;

fn group(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: governd.dev/v1\nkind: EndpointGroup\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

fn agent(name: &str, egress: &str) -> String {
    format!(
        "---\napiVersion: governd.dev/v1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  \
         owner: {{name: Dana, mail: d@acme.example}}\n  match: [{{exe: /{name}}}]\n  \
         egress: {egress}\n"
    )
}

fn many(count: usize) -> impl Iterator<Item = Target> {
    (0..count).map(|index| Target::parse(&format!("n{index}.example")).unwrap())
}

/// Documents of which the first is a group of many names, called `big`.
fn with_big(text: &str) -> Documents {
    let text = group("big", "{endpoints: [a.example]}") + text;
    let mut documents = load(&[("p.yaml", text)]).unwrap();
    documents.policy.groups[0].targets.extend(many(MANY - 1));
    documents
}

fn compile(documents: &Documents, search: &[&str]) -> Result<Compiled, Diagnostics> {
    let host = TestHost {
        search_domains: search.iter().map(ToString::to_string).collect(),
        ..TestHost::new(&[])
    };
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    documents.compile(&around, &mut Ids::default())
}

fn limits(diagnostics: &Diagnostics) -> Vec<&str> {
    let limits = diagnostics.iter().filter(|one| one.code == Code::Limit);
    limits.map(|one| one.message.as_str()).collect()
}

#[test]
fn groups_and_rules_that_have_one_group_share_its_list() {
    let others = (0..4_000).map(|index| group(&format!("g{index}"), "{endpoints: [group:big]}"));
    let rules = "{rules: [{allow: [group:g1]}, {allow: [group:g2], protocol: tcp}]}";
    let text = others.collect::<String>() + &agent("one", rules) + &agent("two", rules);
    let documents = with_big(&text);
    let mut out = Diagnostics::default();
    let expanded = groups::expand(&documents.policy, &[], &mut out).agents;
    assert!(out.is_empty(), "{out}");
    let lists: Vec<_> = expanded.iter().flat_map(|it| &it.rules).map(|it| &it.members).collect();
    assert_eq!((lists.len(), lists[0].len()), (4, MANY));
    assert!(lists.iter().all(|list| Arc::ptr_eq(list, lists[0])));
}

#[test]
fn what_all_groups_have_together_is_bounded() {
    let more = |name: &str| group(name, &format!("{{endpoints: [{name}.example, group:big]}}"));
    let text: String =
        (0..DESTINATIONS_MAX / MANY).map(|index| more(&format!("g{index}"))).collect();
    let found = compile(&with_big(&text), &[]).unwrap_err();
    assert_eq!(
        limits(&found),
        ["with `g9`, the groups have more than 1048576 destinations, those that they have from \
          others counted for each"]
    );
    let wider = group("wider", "{endpoints: [group:big, group:second]}")
        + &group("second", "{endpoints: [b.example]}");
    let mut documents = with_big(&wider);
    documents.policy.groups[2].targets.extend(many(GROUP_MEMBERS_MAX).skip(MANY / 2));
    let found = compile(&documents, &[]).unwrap_err();
    assert_eq!(limits(&found), ["the group `wider` has more than 131072 destinations"]);
}

#[test]
fn what_all_rules_have_together_is_bounded() {
    let rules = |ports: &str| vec![format!("{{allow: [group:big]{ports}}}"); 1_000].join(", ");
    for ports in ["", ", ports: [443]"] {
        let text = agent("one", &format!("{{rules: [{}]}}", rules(ports)));
        let found = compile(&with_big(&text), &[]).unwrap_err();
        assert_eq!(
            limits(&found),
            [
                "from here on, the rules have more than 1048576 destinations, those of groups counted \
              for each rule"
            ]
        );
        let place = found.iter().next().and_then(|one| one.place.clone()).unwrap();
        assert_eq!(place.line, 13, "{found}");
    }
}

#[test]
fn a_list_of_ports_is_bounded() {
    let ports = |count: usize| {
        let ports = (0..count).map(|index| (2 * index + 1).to_string()).collect::<Vec<_>>();
        let spec = format!("{{endpoints: [a.example], ports: [{}]}}", ports.join(", "));
        load(&[("p.yaml", group("g", &spec))])
    };
    assert!(ports(PORT_RANGES_MAX).is_ok());
    let found = ports(PORT_RANGES_MAX + 1).unwrap_err();
    assert_eq!(limits(&found), ["the list has more than 256 ranges of ports"]);
}

/// What subject 1 or 2 may do with a pattern.
fn block<'c>(compiled: &'c Compiled, subject: u32, pattern: &str) -> Option<&'c RuleBlock> {
    let (set, _) = compiled.sets.iter().find(|(_, text)| &***text == pattern)?;
    let mut blocks = compiled.image.blocks.iter();
    blocks.find(|(of, at, _)| *of == subject && at == set).map(|(_, _, block)| block)
}

#[test]
fn names_below_search_domains_come_after_all_that_the_policy_names() {
    let text = agent("big", "{rules: [{allow: [a.example]}]}")
        + &agent("small", "{rules: [{allow: [b.example]}]}");
    let mut documents = load(&[("p.yaml", text)]).unwrap();
    let rule = &mut documents.policy.agents[0].rules[0];
    rule.targets.extend(many(70_000));
    let compiled = compile(&documents, &["corp.example"]).unwrap();
    assert_eq!(compiled.image.names.len(), 70_000 + 3);
    assert_eq!(
        limits(&compiled.warnings),
        ["the names of `big` cannot be asked for below the search domains of this host \
          (corp.example): the kernel's tables have no place for that"]
    );
    let is_askable =
        |subject, pattern| block(&compiled, subject, pattern).is_some_and(RuleBlock::speaks_for);
    assert!(is_askable(1, "n1.example") && is_askable(2, "b.example"));
    assert!(is_askable(2, "b.example.corp.example"));
    assert!(!is_askable(1, "n1.example.corp.example") && !is_askable(1, "a.example.corp.example"));
    // Two domains are no place for either of a few more.
    documents.policy.agents[0].rules[0].targets.truncate(NAMES_MAX / 2 - 2);
    assert!(limits(&compile(&documents, &["corp.example"]).unwrap().warnings).is_empty());
    let compiled = compile(&documents, &["corp.example", "b.corp.example"]).unwrap();
    assert_eq!(limits(&compiled.warnings).len(), 1);
    assert_eq!(compiled.image.names.len(), NAMES_MAX / 2 - 2 + 1 + 2);
}

#[test]
fn a_question_is_no_reason_to_refuse_a_policy() {
    let ports = "ports: [3, 5, 7, 9, 11, 13, 15, 17]";
    let rules = format!("{{deny: ['*.corp.example'], {ports}}}, {{allow: [a.example]}}");
    let documents = load(&[("p.yaml", agent("one", &format!("{{rules: [{rules}]}}")))]).unwrap();
    let compiled = compile(&documents, &["corp.example"]).unwrap();
    let below = block(&compiled, 1, "a.example.corp.example").unwrap();
    assert!(!below.speaks_for());
    assert_eq!(below.len, 8);
}
