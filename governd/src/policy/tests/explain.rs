//! Whole answers of `explain`, for a table of questions.

use std::net::IpAddr;

use super::host::{TestHost, endpoints};
use crate::policy::{
    compile::Surroundings,
    explain::{Bound, Destination, Question, explain},
    ids::Ids,
    image::Compiled,
    load,
    tables::Controls,
};

const POLICY: &str = "\
apiVersion: governd.dev/v1
kind: HostPolicy
metadata: {name: h}
spec: {mode: enforce, unregistered: deny-ai, loopback: deny, resolvers: {addresses: [10.0.0.2]}}
---
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: bot}
spec:
  owner: {name: Dana Smith, mail: dana@acme.example}
  match: [{user: 1}]
  egress:
    rules:
    - allow: [api.openai.com]
      ports: [443]
      protocol: tcp
    - allow: ['*.acme.example', 10.20.0.0/16]
    - deny: [payroll.acme.example]
---
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: watched}
spec:
  owner: {name: Robin, mail: robin@acme.example}
  mode: monitor
  match: [{user: 2}]
";

fn compiled() -> (Compiled, Ids) {
    let endpoints = endpoints(&[("*.openai.com", "OpenAI", "model-api")]);
    let host = TestHost::default();
    let around = Surroundings { host: &host, endpoints: &endpoints, model_ports: &[], mode: None };
    let mut ids = Ids::default();
    (load(&[("p.yaml", POLICY)]).unwrap().compile(&around, &mut ids).unwrap(), ids)
}

#[test]
fn answers_name_the_rule_or_the_nearest_one_the_owner_and_what_to_add() {
    let (compiled, mut ids) = compiled();
    let known = [
        ("api.openai.com", "192.0.2.1", false),
        ("files.openai.com", "192.0.2.2", false),
        ("payroll.acme.example", "10.20.0.9", false),
        ("wiki.acme.example", "192.0.2.4", true),
    ];
    let bound = known.map(|(name, address, is_hosts)| Bound {
        name: name.into(),
        address: address.parse().unwrap(),
        is_hosts,
    });
    let rows = [
        ("bot", "api.openai.com", 443, 6),
        ("bot", "api.openai.com", 80, 6),
        ("bot", "192.0.2.1", 443, 17),
        ("bot", "files.openai.com", 443, 6),
        ("bot", "payroll.acme.example", 443, 6),
        ("bot", "acme.example", 443, 6),
        ("bot", "wiki.acme.example", 443, 6),
        ("bot", "api.openaii.com", 443, 6),
        ("bot", "10.21.0.1", 443, 6),
        ("bot", "203.0.113.7", 22, 6),
        ("bot", "2001:db8::1", 443, 17),
        ("bot", "10.0.0.2", 53, 17),
        ("bot", "127.0.0.1", 8080, 6),
        ("watched", "api.openai.com", 443, 6),
        ("", "api.openai.com", 443, 6),
        ("", "wiki.acme.example", 443, 6),
        ("", "127.0.0.1", 80, 6),
    ];
    let mut all = String::new();
    for (agent, destination, port, protocol) in rows {
        let subject = if agent.is_empty() { 0 } else { ids.subject(agent) };
        let destination = match destination.parse::<IpAddr>() {
            Ok(address) => Destination::Address(address),
            Err(_) => Destination::Name(destination.into()),
        };
        let process = "python3 (pid 4711)";
        let question = Question { process, subject, destination, port, protocol, bound: &bound };
        let answer = explain(&compiled, &question, Controls::default());
        all += &format!("{}\n\n", answer.words().join("\n"));
    }
    insta::assert_snapshot!(all);
}
