//! Groups of endpoints: what they have in them, and what is wrong with them.

use std::fmt::Write;

use super::host::{TestHost, endpoints};
use crate::policy::{
    Documents,
    compile::Surroundings,
    diagnostic::Diagnostics,
    explain::{Destination, Question, explain},
    ids::Ids,
    image::Compiled,
    limits::GROUP_NESTING_MAX,
    load,
    tables::Controls,
};

fn group(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: governd.dev/v1\nkind: EndpointGroup\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

fn agent(rules: &str) -> String {
    format!(
        "---\napiVersion: governd.dev/v1\nkind: Agent\nmetadata: {{name: bot}}\nspec:\n  \
         owner: {{name: Dana, mail: d@acme.example}}\n  match: [{{exe: /a}}]\n  \
         egress: {{rules: [{rules}]}}\n"
    )
}

fn compile(text: &str) -> Result<Compiled, Diagnostics> {
    let endpoints = endpoints(&[
        ("*.openai.com", "openai", "model-api"),
        ("chat.openai.com", "openai", "agent-saas"),
        ("api.anthropic.com", "anthropic", "model-api"),
    ]);
    let host = TestHost::new(&[("/a", 1)]);
    let around = Surroundings { host: &host, endpoints: &endpoints, model_ports: &[], mode: None };
    let documents: Documents = load(&[("p.yaml", text)])?;
    documents.compile(&around, &mut Ids::default())
}

fn rule_for(compiled: &Compiled, name: &str, port: u16) -> String {
    let question = Question {
        process: "a",
        subject: 1,
        destination: Destination::Name(name.into()),
        port,
        protocol: 6,
        bound: &[],
    };
    let answer = explain(compiled, &question, Controls::default());
    answer.rule.map_or_else(|| "none".to_owned(), |rule| rule.id.to_string())
}

#[test]
fn a_rule_on_a_group_is_a_rule_on_each_of_its_members() {
    let text = [
        group("models", "{endpoints: [catalog:openai/model-api, group:own], ports: [443, 8443]}"),
        group("own", "{endpoints: [llm.acme.example, 10.0.0.0/8], ports: ['443-500']}"),
        agent(
            "{allow: [group:models, a.example], ports: [443, 80]}, {deny: [catalog:openai/agent-saas]}",
        ),
    ];
    let compiled = compile(&text.concat()).unwrap();
    let rows = [
        ("api.openai.com", 443, "bot/egress/1"),
        ("api.openai.com", 80, "none"),
        ("api.openai.com", 8443, "none"),
        ("llm.acme.example", 443, "bot/egress/1"),
        ("llm.acme.example", 444, "none"),
        ("a.example", 80, "bot/egress/1"),
        ("chat.openai.com", 443, "bot/egress/2"),
        ("api.anthropic.com", 443, "none"),
    ];
    for (name, port, rule) in rows {
        assert_eq!(rule_for(&compiled, name, port), rule, "{name} {port}");
    }
    let text = "allow a.example, group:models ports 80, 443";
    assert!(compiled.rules.iter().any(|rule| &*rule.text == text), "{:?}", compiled.rules);
    assert_eq!(compiled.image.networks.len(), 1);
}

#[test]
fn what_groups_say_is_part_of_the_digest() {
    let policy = |member: &str| {
        let group = group("g", &format!("{{endpoints: [{member}]}}"));
        compile(&(group + &agent("{allow: [group:g]}"))).unwrap().digest
    };
    assert_ne!(policy("a.example"), policy("b.example"));
    assert_eq!(policy("a.example"), policy("a.example"));
}

/// Each group includes the next one twice over.
fn doubling(levels: usize) -> String {
    let mut text = String::new();
    for level in 0..levels {
        let (left, right) = (format!("l{}", level + 1), format!("r{}", level + 1));
        let spec = format!("{{endpoints: [group:{left}, group:{right}]}}");
        text += &group(&format!("l{level}"), &spec);
        text += &group(&format!("r{level}"), &spec);
    }
    for side in ["l", "r"] {
        text += &group(&format!("{side}{levels}"), "{endpoints: [a.example]}");
    }
    text + &agent("{allow: [group:l0]}")
}

#[test]
fn groups_that_multiply_have_each_member_once() {
    let compiled = compile(&doubling(GROUP_NESTING_MAX - 1)).unwrap();
    assert_eq!(rule_for(&compiled, "a.example", 443), "bot/egress/1");
}

#[test]
fn faulty_groups_are_explained() {
    let rows = [
        ("a cycle", group("a", "{endpoints: [group:b]}") + &group("b", "{endpoints: [group:a]}")),
        ("itself", group("a", "{endpoints: [group:a]}")),
        (
            "unknown",
            group("models", "{endpoints: [a.example]}") + &agent("{allow: [group:modles]}"),
        ),
        ("unknown provider", agent("{allow: [catalog:opnai]}")),
        ("unknown kind", agent("{allow: [catalog:openai/model-apis]}")),
        ("no provider", agent("{allow: ['catalog:']}")),
        ("no name", agent("{allow: [group:A B]}")),
        ("a mapping", agent("{allow: [group: a]}")),
        (
            "no common port",
            group("a", "{endpoints: [a.example], ports: [443]}")
                + &agent("{allow: [group:a], ports: [80]}"),
        ),
        ("duplicates", group("a", "{endpoints: [a.example]}").repeat(2)),
        ("nothing", group("a", "{}") + &group("b", "{endpoints: []}")),
        ("too deep", doubling(GROUP_NESTING_MAX)),
    ];
    let mut all = String::new();
    for (title, text) in rows {
        let found = match compile(&text) {
            Ok(compiled) => format!("accepted\n{}", compiled.warnings),
            Err(diagnostics) => diagnostics.to_string(),
        };
        writeln!(all, "# {title}\n{found}\n").unwrap();
    }
    insta::assert_snapshot!(all);
}
