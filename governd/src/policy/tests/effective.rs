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
    insta::assert_snapshot!(rows(false), @r"
    deny pay.store.example every port, by bot/egress/2
    allow *.store.example port 443/tcp, by bot/egress/1
    deny *.store.example ports 0-442, by bot/default
    deny *.store.example ports 444-65535, by bot/default
    deny *.store.example port 443/other, by no-server-name
    deny *.store.example port 443/udp, by quic
    allow 192.0.2.0/24 port 443/tcp+other, by bot/egress/1
    deny 192.0.2.0/24 ports 0-442, by bot/default
    deny 192.0.2.0/24 ports 444-65535, by bot/default
    deny 192.0.2.0/24 port 443/udp, by quic
    halt 192.0.2.9 every port, by bot/egress/3
    ");
}

#[test]
fn an_approval_that_has_ended_is_taken_in() {
    insta::assert_snapshot!(rows(true), @r"
    deny pay.store.example every port, by bot/egress/2
    approve *.store.example port 443, by bot/egress/1
    deny *.store.example ports 0-442, by bot/default
    deny *.store.example ports 444-65535, by bot/default
    approve 192.0.2.0/24 port 443, by bot/egress/1
    deny 192.0.2.0/24 ports 0-442, by bot/default
    deny 192.0.2.0/24 ports 444-65535, by bot/default
    halt 192.0.2.9 every port, by bot/egress/3
    ");
}
