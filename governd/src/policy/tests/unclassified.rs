//! Who may yet turn out to be an agent.

use std::{collections::HashMap, slice};

use governd_common::{
    table::{SocketOwner, settings_flag},
    verdict::{Mode, Verdict},
};

use super::host::{TestHost, endpoints};
use crate::{
    core::{
        classify::{Candidate, Classifier, reconcile},
        modes::{ModeSet, Modes, SetMode},
        process::Process,
    },
    policy::{
        compile::Surroundings,
        explain::{Destination, Question, explain},
        ids::Ids,
        image::Compiled,
        load,
        tables::Controls,
    },
};

const HOST: &str = "\
apiVersion: governd.dev/v1
kind: HostPolicy
metadata: {name: all}
spec: {mode: enforce, unregistered: monitor, unclassified: deny-ai}
";
const AGENT: &str = "\
---
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: bot}
spec:
  owner: {name: Dana, mail: d@acme.example}
  match: [{exe: /a, cgroup: /unit}, {parent: bot, exe: /b}]
";
/// A container of which nobody told.
const SILENT: u64 = 7;

fn compile(text: &str) -> Compiled {
    let host = TestHost {
        cgroups: [("/unit".to_owned(), vec![5])].into(),
        unclassified: vec![SILENT, 5],
        ..TestHost::new(&[("/a", 1), ("/b", 2)])
    };
    let endpoints = endpoints(&[("*.ai.example", "ai", "model-api")]);
    let around =
        Surroundings { host: &host, endpoints: &endpoints, model_ports: &[11434], mode: None };
    load(&[("p.yaml", text)]).unwrap().compile(&around, &mut Ids::default()).unwrap()
}

/// The subject of a process of no executable that is known, in a cgroup.
fn subject_in(compiled: &Compiled, cgroup: u64) -> Option<u32> {
    let process = Process { pid: 9, ..Process::default() };
    let candidate = Candidate { process: &process, cgroups: &[1, cgroup], script: None };
    let changes = reconcile(
        &Classifier::new(&compiled.image),
        slice::from_ref(&candidate),
        &HashMap::new(),
        1,
    );
    assert_eq!(changes, [], "what is unclassified is not to stay so");
    Classifier::new(&compiled.image).subject(&candidate)
}

#[test]
fn it_is_told_apart_where_it_is_denied_more_and_something_can_be_found_out() {
    let whole = format!("{HOST}{AGENT}");
    let rows = [
        (whole.clone(), true),
        (whole.replace("cgroup: /unit", "image: ghcr.io/acme/bot"), true),
        (whole.replace("cgroup: /unit", "user: 3"), false),
        (whole.replace("unclassified: deny-ai", "unclassified: allow"), false),
        (whole.replace(", unclassified: deny-ai", ""), false),
        (whole.replace("unregistered: monitor", "unregistered: deny-ai"), false),
        (whole.replace("unregistered: monitor", "unregistered: deny"), false),
        (HOST.to_owned(), false),
    ];
    for (text, expected) in rows {
        let compiled = compile(&text);
        assert_eq!(compiled.has_unclassified(), expected, "{text}");
        let is_looked_up = compiled.image.flags & settings_flag::CLASSIFY_AT_CONNECT != 0;
        assert!(is_looked_up || !expected, "{text}");
        let subject = expected.then_some(SocketOwner::UNCLASSIFIED);
        assert_eq!(subject_in(&compiled, SILENT), subject, "{text}");
        assert_eq!(subject_in(&compiled, 8), None, "{text}");
    }
}

#[test]
fn it_reaches_all_but_ai_in_the_mode_of_who_is_not_registered() {
    let mut compiled = compile(&format!("{HOST}{AGENT}"));
    let subject = SocketOwner::UNCLASSIFIED;
    assert_eq!(compiled.registered(subject), 0);
    assert_eq!(compiled.agents_registered(), 1);
    let answer = |compiled: &Compiled, name: &str| {
        let question = Question {
            process: "curl (pid 9)",
            subject,
            destination: Destination::Name(name.into()),
            port: 443,
            protocol: 6,
            bound: &[],
        };
        explain(compiled, &question, Controls::default())
    };
    let denied = answer(&compiled, "api.ai.example");
    let rule = denied.rule.as_ref().map(|rule| &*rule.id);
    assert_eq!((denied.decision.verdict, rule), (Verdict::Deny, Some("unclassified/ai/ai")));
    assert_eq!((&*denied.agent.name, denied.goes_through()), ("unclassified", false));
    assert!(denied.advice.concat().contains("wait until"), "{:?}", denied.advice);
    assert!(answer(&compiled, "plain.example").goes_through());

    let (agent, since_ms) = (None, 1);
    let mut modes = Modes::default();
    modes.set(ModeSet { agent, mode: SetMode::Monitor, by: "dana".into(), since_ms });
    modes.apply(&mut compiled);
    assert_eq!(answer(&compiled, "api.ai.example").decision.mode, Mode::Monitor);
    assert_eq!(compiled.agent(subject).unwrap().mode, Mode::Monitor);
}
