//! Which host policy holds for a host.

use std::fmt::Write as _;

use super::host::TestHost;
use crate::policy::{
    compile::{Surroundings, hosts::Choice},
    diagnostic::Diagnostics,
    host::HostLabels,
    ids::Ids,
    load, testing,
};

/// Policies of these names and selectors.
fn policies(selectors: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, selector) in selectors {
        writeln!(
            text,
            "---\napiVersion: governd.dev/v1\nkind: HostPolicy\nmetadata: {{name: {name}}}\n\
             spec: {{{selector}}}"
        )
        .unwrap();
    }
    text
}

fn labels(text: &str) -> HostLabels {
    HostLabels::parse(&"host.toml".into(), text).unwrap()
}

/// The choice for the host `web-1`, in production, with `tier=web` and `zone=a`.
fn choice(selectors: &[(&str, &str)]) -> Result<Choice, Diagnostics> {
    let said = "environment = \"production\"\nlabels = {tier = \"web\", zone = \"a\"}\n";
    let host = TestHost { labels: labels(said), ..TestHost::new(&[]) };
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    let documents = load(&[("hosts.yaml", policies(selectors))])?;
    documents.compile(&around, &mut Ids::default()).map(|compiled| compiled.host_policy)
}

const EVERY: (&str, &str) = ("every", "mode: monitor");

#[test]
fn the_policy_that_says_most_of_the_host_holds_and_says_why() {
    let rows: [(&[(&str, &str)], &str); 11] = [
        (&[], "host policy built-in, as no host policy is for the host web-1"),
        (&[EVERY], "host policy every, for every host"),
        (
            &[EVERY, ("env", "environment: production")],
            "host policy env, by the environment, over every",
        ),
        (
            &[EVERY, ("env", "environment: [test, production]")],
            "host policy env, by the environment, over every",
        ),
        (&[EVERY, ("env", "environment: test")], "host policy every, for every host"),
        (&[EVERY, ("env", "environment: []")], "host policy every, for every host"),
        (
            &[("env", "environment: production"), ("tier", "labels: {tier: web}")],
            "host policy tier, by the label tier=web, over env",
        ),
        (
            &[
                ("zone", "labels: {tier: web, zone: a}"),
                ("tier", "labels: {tier: web}, environment: production"),
            ],
            "host policy zone, by the label tier=web and the label zone=a, over tier",
        ),
        (&[EVERY, ("db", "labels: {tier: db, zone: a}")], "host policy every, for every host"),
        (
            &[("zone", "labels: {tier: web, zone: a}"), ("web", "hosts: ['web-*']")],
            "host policy web, by the host name pattern web-*, over zone",
        ),
        (
            &[
                ("web", "hosts: ['web-*'], labels: {zone: a}"),
                ("this", "hosts: [web-1], environment: production"),
            ],
            "host policy this, by the host name web-1 and the environment, over web",
        ),
    ];
    for (selectors, expected) in rows {
        assert_eq!(choice(selectors).unwrap().words(), expected, "{selectors:?}");
    }
}

#[test]
fn policies_that_say_as_much_are_an_error_on_hosts_that_both_are_for() {
    let two = [("tier", "labels: {tier: web}"), ("zone", "labels: {zone: a}")];
    let errors = choice(&two).unwrap_err().to_string();
    assert!(errors.contains("hosts.yaml:9:18: error[duplicate]: "), "{errors}");
    assert!(errors.contains("`tier` (at hosts.yaml:4:18) and `zone` are both"), "{errors}");
    choice(&[two[0], ("zone", "labels: {zone: b}")]).unwrap();
}

#[test]
fn labels_and_environments_that_cannot_be_are_errors_at_their_place() {
    let bad = [("bad", "labels: {'a b': x, -tier: y, zone: 'é'}, environment: [\"\", 'p q']")];
    insta::assert_snapshot!(choice(&bad).unwrap_err());
}

#[test]
fn a_hosts_file_says_what_is_wrong_with_it() {
    let rows = [
        ("", "[]"),
        ("environment = \"test\"\n", "environment test, []"),
        ("[labels]\n\"acme.example/team\" = \"a\"\n", "[acme.example/team=a]"),
        ("environment = 1", "host.toml:1:15"),
        ("environment = \"a b\"", "host.toml:1:15: error[bad-label]: `a b` is no environment"),
        ("[labels]\ntier = \"é\"", "host.toml:2:8: error[bad-label]"),
        ("[labels]\n\"-\" = \"a\"", "host.toml:2:1: error[bad-label]"),
        ("labels = []", "host.toml:1:10: error[bad-host-file]"),
        ("[label]\ntier = \"a\"", "error[bad-host-file]: unknown field `label`"),
        ("[labels]\na = \"1\"\na = \"2\"", "host.toml:3:1: error[bad-host-file]"),
    ];
    for (text, expected) in rows {
        let said = match HostLabels::parse(&"host.toml".into(), text) {
            Err(fault) => fault.to_string(),
            Ok(HostLabels { environment, labels }) => {
                let environment = environment.map(|one| format!("environment {one}, "));
                let labels = labels.iter().map(|(key, value)| format!("{key}={value}"));
                let labels: Vec<String> = labels.collect();
                format!("{}[{}]", environment.unwrap_or_default(), labels.join(", "))
            }
        };
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn a_policy_test_says_on_which_host_it_happens() {
    let mut text = policies(&[
        ("test", "environment: test, unregistered: deny"),
        ("web", "labels: {tier: web}, unregistered: monitor"),
    ]);
    for (name, of, expect) in
        [("a", "environment: test", "deny"), ("b", "labels: {tier: web}", "allow")]
    {
        writeln!(
            text,
            "---\napiVersion: governd.dev/v1\nkind: PolicyTest\nmetadata: {{name: {name}}}\n\
             spec:\n  {of}\n  cases: [{{agent: unregistered, to: 192.0.2.1, expect: {expect}}}]"
        )
        .unwrap();
    }
    let outcomes = testing::run(&load(&[("hosts.yaml", text)]).unwrap(), &[]).unwrap();
    let passed: Vec<bool> = outcomes.iter().map(|one| one.passed).collect();
    assert_eq!(passed, [true, true], "{outcomes:?}");
}

#[test]
fn exporters_and_selectors_are_part_of_what_a_policy_is() {
    let digest = |selector: &str| {
        let host = TestHost::new(&[]);
        let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
        let documents = load(&[("hosts.yaml", policies(&[("one", selector)]))]).unwrap();
        let compiled = documents.compile(&around, &mut Ids::default()).unwrap();
        (compiled.digest, compiled.exporters)
    };
    let (plain, every) = digest("mode: monitor");
    assert_eq!(every, None);
    let (other, some) = digest("exporters: [siem]");
    assert_eq!(some.as_deref(), Some(&["siem".into()][..]));
    let digests = [
        plain,
        other,
        digest("exporters: []").0,
        digest("environment: test").0,
        digest("labels: {a: b}").0,
    ];
    let different: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(different.len(), digests.len(), "{digests:?}");
}
