//! Test cases inside documents: what passes, what fails, and what is said then.

use std::fmt::Write;

use crate::{
    app::catalogue,
    catalog::Catalog,
    policy::{load, testing::run},
};

const AGENTS: &str = "\
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: bot}
spec:
  owner: {name: Dana Smith, mail: dana@acme.example}
  match: [{exe: /opt/bot, user: svc}, {cgroup: '/a.slice/bot-*.service'}]
  egress:
    rules:
    - {allow: [api.acme.example], ports: [443]}
    - {allow: ['*.any.example'], ports: [8443], verify: sni}
---
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: other}
spec:
  owner: {name: Dana Smith, mail: dana@acme.example}
  match: [{user: 1000}]
---
";

fn outcomes(cases: &str) -> String {
    let text = format!(
        "{AGENTS}apiVersion: governd.dev/v1\nkind: PolicyTest\nmetadata: {{name: t}}\nspec:\n  cases:\n{cases}"
    );
    let mut out = String::new();
    match load(&[("p.yaml", text)]) {
        Err(diagnostics) => writeln!(out, "{diagnostics}").unwrap(),
        Ok(documents) => {
            for outcome in run(&documents, &[]).unwrap() {
                let word = if outcome.passed { "ok" } else { "FAILED" };
                writeln!(out, "{word} {}", outcome.words().join("\n")).unwrap();
            }
        }
    }
    out
}

#[test]
fn cases_say_who_a_process_is_and_what_is_decided() {
    insta::assert_snapshot!(outcomes(concat!(
        "  - {process: {exe: /opt/bot, user: svc}, to: api.acme.example, expect: allow, rule: bot/egress/1}\n",
        "  - {process: {exe: /opt/bot, user: root}, to: api.acme.example, expect: allow, rule: bot/egress/1}\n",
        "  - {process: {cgroup: /a.slice/bot-1.service/x}, to: api.acme.example, expect: allow}\n",
        "  - {process: {cgroup: /a.slice/not-1.service}, to: api.acme.example, expect: deny}\n",
        "  - {process: {exe: /bin/sh, user: 1000}, to: api.acme.example, expect: deny, rule: other/default}\n",
        "  - {agent: bot, to: api.acme.example, port: 22, expect: allow}\n",
        // Whatever the address, the first bytes have to name what is allowed.
        "  - {agent: bot, to: a.any.example, port: 8443, address: 192.0.2.1, expect: allow}\n",
        "  - {agent: bot, to: evil.example, port: 8443, address: 192.0.2.1, expect: deny}\n",
        "  - {agent: bot, to: 192.0.2.1, port: 8443, expect: deny}\n",
        "  - {agent: bott, to: 192.0.2.1, expect: deny}\n",
    )));
}

#[test]
fn cases_say_who_started_a_process() {
    let agents = ["coder", "tool", "deep", "last", "fifth"];
    let allowed = ["a.example, b.example", "b.example", "b.example", "b.example", "b.example"];
    let mut text = String::new();
    for (index, (name, names)) in agents.iter().zip(allowed).enumerate() {
        let parent = match index.checked_sub(1).and_then(|above| agents.get(above)) {
            Some(parent) => format!(", parent: {parent}"),
            None => String::new(),
        };
        write!(
            text,
            "apiVersion: governd.dev/v1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  owner: \
             {{name: Dana, mail: d@acme.example}}\n  match: [{{exe: /{name}{parent}}}]\n  egress: \
             {{rules: [{{allow: [{names}]}}]}}\n---\n"
        )
        .unwrap();
    }
    let cases = [
        "{process: {exe: /tool}, started_by: coder, to: b.example, expect: allow}",
        "{process: {exe: /tool}, started_by: coder, to: a.example, expect: deny, rule: tool/default}",
        "{process: {exe: /tool}, to: a.example, expect: allow, rule: unregistered/default}",
        "{process: {exe: /bin/sh}, started_by: [coder, tool], to: a.example, expect: deny}",
        "{agent: deep, started_by: [coder, tool], to: b.example, expect: allow}",
        "{agent: fifth, started_by: [coder, tool, deep, last], to: b.example, expect: allow}",
        "{agent: tool, started_by: [deep], to: b.example, expect: allow}",
        "{agent: coder, started_by: [nobody], to: b.example, expect: allow}",
    ];
    text.push_str(
        "apiVersion: governd.dev/v1\nkind: PolicyTest\nmetadata: {name: t}\nspec:\n  cases:\n",
    );
    cases.iter().for_each(|case| writeln!(text, "  - {case}").unwrap());
    let documents = load(&[("p.yaml", text)]).unwrap_or_else(|bad| panic!("{bad}"));
    let mut out = String::new();
    for outcome in run(&documents, &[]).unwrap() {
        let word = if outcome.passed { "ok" } else { "FAILED" };
        writeln!(out, "{word} {}", outcome.words().join("\n")).unwrap();
    }
    insta::assert_snapshot!(out);
}

#[test]
fn cases_that_cannot_be_read_are_explained() {
    insta::assert_snapshot!(outcomes(concat!(
        "  - {to: api.acme.example, expect: allow}\n",
        "  - {agent: bot, process: {exe: /x}, to: api.acme.example, expect: allow}\n",
        "  - {agent: bot, to: '*.acme.example', port: 1-2, protocol: icmp, expect: alow}\n",
        "  - {agent: bot, to: 10.0.0.0/8, address: x, expect: allow}\n",
        "  - {agent: bot}\n",
        "  - {process: {exe: bin/x, user: a b, cgroup: /}, to: a.example, expect: deny, rulle: x}\n",
    )));
}

#[test]
fn the_policies_of_the_library_decide_as_their_tests_say() {
    let endpoints = catalogue::known(&Catalog::built_in()).endpoints;
    let library = [
        ("coding-agents", include_str!("../../../../deploy/policies/coding-agents.yaml")),
        ("rag-service", include_str!("../../../../deploy/policies/rag-service.yaml")),
        ("model-server", include_str!("../../../../deploy/policies/model-server.yaml")),
        ("ci-runner", include_str!("../../../../deploy/policies/ci-runner.yaml")),
        ("deny-ai", include_str!("../../../../deploy/policies/deny-ai.yaml")),
    ];
    let all = load(&library).unwrap_or_else(|bad| panic!("{bad}"));
    assert!(all.warnings.is_empty(), "{}", all.warnings);
    for (name, text) in library {
        let documents = load(&[(name, text)]).unwrap();
        let outcomes = run(&documents, &endpoints).unwrap_or_else(|bad| panic!("{bad}"));
        assert!(!outcomes.is_empty(), "{name}");
        for outcome in outcomes {
            assert!(outcome.passed, "{}", outcome.words().join("\n"));
        }
    }
}
