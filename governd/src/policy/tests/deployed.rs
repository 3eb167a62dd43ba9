//! The documents that are shipped and those in the documentation are right.

use super::host::TestHost;
use crate::policy::{check, compile::Surroundings, document, load};

const DEFAULT: &str = include_str!("../../../../deploy/policies/default.yaml");
const EXAMPLE: &str = include_str!("../../../../deploy/policies/example-agent.yaml");
/// 2026-11-22T00:00:00Z.
const NOW_MS: u64 = 1_795_305_600_000;
const DOCS: &str = include_str!("../../../../docs/policy.md");
const KUBERNETES: &str = include_str!("../../../../docs/kubernetes.md");

#[test]
fn the_shipped_policies_are_valid_together_and_without_remarks() {
    let host = TestHost::new(&[("/opt/invoice-bot/bin/python3", 1)]);
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    let sources = [("default.yaml", DEFAULT), ("example-agent.yaml", EXAMPLE)];
    let report = check(&sources, &around, NOW_MS);
    insta::assert_snapshot!(format!("{}\n{}", report.summary()[..2].join("\n"), report.diagnostics), @r"
    valid: 0 errors and 0 warnings in 2 files
    1 agent, 1 host policy, 4 rules, 3 name patterns, 1 network
    ");
}

#[test]
fn every_document_in_the_documentation_is_valid() {
    for (page, text, least) in [("docs/policy.md", DOCS, 2), ("docs/kubernetes.md", KUBERNETES, 1)]
    {
        let mut count = 0;
        for block in text.split("```yaml\n").skip(1) {
            let text = block.split("```").next().unwrap();
            if text.contains("apiVersion: governd.dev/") {
                count += 1;
                let documents = load(&[(page, text)]).unwrap_or_else(|bad| panic!("{bad}"));
                assert!(documents.warnings.is_empty(), "{}", documents.warnings);
            }
        }
        assert!(count >= least, "{page} shows {count} documents");
    }
}

#[test]
fn every_field_of_match_that_a_page_names_exists() {
    let fields = document::schema()["$defs"]["MatchDocument"]["properties"].clone();
    for (page, text) in [("docs/policy.md", DOCS), ("docs/kubernetes.md", KUBERNETES)] {
        for named in text.split("`match.").skip(1) {
            let field = named.split('`').next().unwrap();
            assert!(fields.get(field).is_some(), "{page} names match.{field}");
        }
    }
}

#[test]
fn the_documentation_names_every_field_and_no_other() {
    let schema = document::schema();
    let mut fields = Vec::new();
    collect_fields(&schema["$defs"], &mut fields);
    assert!(fields.len() > 20);
    for field in fields {
        let is_named = [format!("`{field}`"), format!("{field}:")];
        assert!(is_named.iter().any(|text| DOCS.contains(text)), "docs/policy.md lacks {field}");
    }
}

fn collect_fields(value: &serde_json::Value, fields: &mut Vec<String>) {
    if let Some(properties) = value["properties"].as_object() {
        fields.extend(properties.keys().cloned());
    }
    match value {
        serde_json::Value::Object(map) => map.values().for_each(|one| collect_fields(one, fields)),
        serde_json::Value::Array(list) => list.iter().for_each(|one| collect_fields(one, fields)),
        _ => {}
    }
}

#[test]
fn the_schema_says_what_is_required_and_refuses_other_fields() {
    let schema = document::schema();
    let agent = &schema["$defs"]["Agent"];
    assert_eq!(agent["required"], serde_json::json!(["apiVersion", "kind", "metadata", "spec"]));
    assert_eq!(agent["properties"]["kind"]["const"], "Agent");
    let spec = &agent["properties"]["spec"];
    assert_eq!(spec["required"], serde_json::json!(["owner", "match"]));
    assert_eq!(spec["additionalProperties"], false);
    let definitions = schema["$defs"].as_object().unwrap();
    for (name, definition) in definitions {
        assert_eq!(definition["additionalProperties"], false, "{name}");
    }
    insta::assert_json_snapshot!(schema);
}
