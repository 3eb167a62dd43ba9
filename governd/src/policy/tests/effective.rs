//! What is in force, in rows.

use super::host::TestHost;
use crate::policy::{
    compile::{Surroundings, Under},
    effective::effective,
    ids::Ids,
    lifecycle::lapses,
    load,
};

const POLICY: &str = "\
apiVersion: governd.dev/v1
kind: EndpointGroup
metadata: {name: stores}
spec: {endpoints: ['*.store.example', 192.0.2.0/24], ports: [443]}
---
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: bot}
spec:
  owner: {name: Dana Smith, mail: dana@acme.example}
  match: [{exe: /a}]
  on_drift: approve
  egress:
    rules:
    - {allow: ['group:stores']}
    - {deny: [pay.store.example]}
    - {halt: [192.0.2.9]}
";

fn rows(has_drifted: bool) -> String {
    let host = TestHost::new(&[("/a", 1)]);
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    let documents = load(&[("p.yaml", POLICY)]).unwrap();
    let lapses = lapses(&documents.policy, 0, &|_| has_drifted);
    let under = Under { lapses: &lapses, ..Under::default() };
    let compiled = documents.compile_under(&around, &mut Ids::default(), &under).unwrap();
    let facts = compiled.agents.iter().find(|facts| facts.subject != 0).unwrap();
    let effective = effective(&compiled, facts);
    assert_eq!(effective.lapse.is_some(), has_drifted);
    let rows = effective.destinations.iter().map(|row| format!("{} {}", row.tier, row.reach));
    rows.filter(|row| row.contains("store") || row.contains("192.0.2"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn groups_denials_and_tiers_are_taken_in() {
    insta::assert_snapshot!(rows(false), @"");
}

#[test]
fn an_approval_that_has_ended_is_taken_in() {
    insta::assert_snapshot!(rows(true), @"");
}
