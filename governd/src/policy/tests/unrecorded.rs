//! What a policy is while nothing can be recorded.

use std::net::IpAddr;

use governd_common::{
    address::Address,
    decide::{Flow, Named, decide_named},
};

use super::host::TestHost;
use crate::policy::{
    compile::{Endpoint, Surroundings},
    ids::Ids,
    image::Compiled,
    load,
    tables::ImageTables,
    unrecorded::deny_ai,
};

const POLICY: &str = "\
apiVersion: governd.dev/v1
kind: HostPolicy
metadata: {name: all}
spec: {mode: MODE, unregistered: monitor, on_log_failure: deny-ai}
---
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: bot}
spec:
  owner: {name: Dana Smith, mail: dana@acme.example}
  match: [{exe: /opt/bot}]
  egress:
    rules:
      - {allow: [api.openai.com], ports: [443]}
      - {allow: [a.example, 10.0.0.0/8]}
";

#[test]
fn ai_is_denied_to_everybody_and_what_was_enforced_still_is() {
    let ai = "api.openai.com";
    // Mode, subject, name, refused by the policy, refused while nothing is recorded.
    let rows = [
        ("enforce", 1, ai, false, true),
        ("enforce", 1, "eu.api.openai.com", true, true),
        ("enforce", 1, "a.example", false, false),
        ("enforce", 1, "b.example", true, true),
        ("enforce", 0, ai, false, true),
        ("enforce", 0, "b.example", false, false),
        ("monitor", 1, ai, false, true),
        ("monitor", 1, "b.example", false, false),
        ("monitor", 0, ai, false, true),
        ("monitor", 0, "b.example", false, false),
    ];
    for (mode, subject, name, before, meanwhile) in rows {
        let text = POLICY.replace("MODE", mode);
        let endpoints = ["api.openai.com", "*.api.openai.com"].map(|pattern| Endpoint {
            pattern: pattern.to_owned(),
            provider: "openai".into(),
            kind: "model-api",
        });
        let host = TestHost::default();
        let around =
            Surroundings { host: &host, endpoints: &endpoints, model_ports: &[], mode: None };
        let documents = load(&[("p.yaml", &*text)]).unwrap();
        let mut compiled = documents.compile(&around, &mut Ids::default()).unwrap();
        assert!(compiled.denies_unrecorded_ai);
        let refuses = |compiled: &Compiled| {
            let tables = ImageTables::new(&compiled.image);
            let set = tables.name_set(name).unwrap_or(0);
            let flow = Flow {
                subject,
                address: Address::from(IpAddr::from([203, 0, 113, 9])),
                port: 443,
                protocol: 6,
                now_ns: 1,
            };
            decide_named(&tables, &flow, Named::by_bytes(set, false).proven()).refuses()
        };
        let row = format!("{mode} {subject} {name}");
        assert_eq!(refuses(&compiled), before, "{row}");
        deny_ai(&mut compiled);
        assert_eq!(refuses(&compiled), meanwhile, "{row}");
        for number in 0..compiled.rules.len() as u32 {
            assert!(compiled.rule(number).is_some());
        }
    }
}
