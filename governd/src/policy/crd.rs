//! The documents as Kubernetes custom resources: definitions from the types of the documents.
//!
//! Kubernetes takes structural schemas only: no references, no alternatives between types, and
//! nothing about `apiVersion`, `kind` and `metadata`, which are its own.

use serde_json::{Map, Value, json};

use super::document;

/// The group of the documents' `apiVersion`.
const GROUP: &str = "governd.dev";
/// Its version.
const VERSION: &str = "v1";
/// Kind, plural and short name.
const KINDS: [(&str, &str, &str); 4] = [
    ("Agent", "agents", "gag"),
    ("EndpointGroup", "endpointgroups", "geg"),
    ("HostPolicy", "hostpolicies", "ghp"),
    ("PolicyTest", "policytests", "gpt"),
];
/// What a schema may say for Kubernetes as it does for editors.
const KEPT: [&str; 9] = [
    "description",
    "type",
    "enum",
    "format",
    "pattern",
    "minItems",
    "minProperties",
    "required",
    "minLength",
];

/// One CustomResourceDefinition for each kind.
pub fn definitions() -> Vec<Value> {
    let schema = document::schema();
    let kinds = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    let definition = |(kind, plural, short): (&str, &str, &str)| {
        let mut own = structural(kinds.get(kind).unwrap_or(&Value::Null), &kinds);
        if let Some(fields) = own.get_mut("properties").and_then(Value::as_object_mut) {
            for theirs in ["apiVersion", "kind"] {
                fields.insert(theirs.to_owned(), json!({"type": "string"}));
            }
            fields.insert("metadata".to_owned(), json!({"type": "object"}));
        }
        if let Some(own) = own.as_object_mut() {
            own.insert("required".to_owned(), json!(["spec"]));
        }
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{GROUP}")},
            "spec": {
                "group": GROUP,
                "names": {
                    "kind": kind,
                    "listKind": format!("{kind}List"),
                    "plural": plural,
                    "singular": kind.to_lowercase(),
                    "shortNames": [short],
                    "categories": ["governd"],
                },
                "scope": "Cluster",
                "versions": [{
                    "name": VERSION,
                    "served": true,
                    "storage": true,
                    "schema": {"openAPIV3Schema": own},
                }],
            },
        })
    };
    KINDS.into_iter().map(definition).collect()
}

/// The definitions as one file: YAML, of which JSON is a part.
pub fn text() -> String {
    let pretty = |one: &Value| format!("{one:#}\n");
    let documents: Vec<String> = definitions().iter().map(pretty).collect();
    format!("# Written by `governd policy crds`.\n{}", documents.join("---\n"))
}

/// A schema without what a structural one may not have.
fn structural(schema: &Value, kinds: &Map<String, Value>) -> Value {
    let Some(schema) = schema.as_object() else {
        return json!({"x-kubernetes-preserve-unknown-fields": true});
    };
    let mut out = Map::new();
    let target = schema.get("$ref").and_then(Value::as_str);
    let target = target.and_then(|path| kinds.get(path.rsplit('/').next()?));
    let alternatives = schema.get("anyOf").and_then(Value::as_array);
    let others = alternatives.into_iter().flatten().filter(|one| !is_null(one));
    let others: Vec<&Value> = others.collect();
    match (target, others.as_slice()) {
        (Some(target), _) => merge(&mut out, structural(target, kinds)),
        (None, [only]) => merge(&mut out, structural(only, kinds)),
        (None, []) => {}
        (None, _) => {
            out.insert("x-kubernetes-preserve-unknown-fields".to_owned(), true.into());
        }
    }
    for key in KEPT {
        if let Some(value) = schema.get(key) {
            out.insert(key.to_owned(), value.clone());
        }
    }
    one_type(&mut out);
    if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
        let field = |(name, field): (&String, &Value)| (name.clone(), structural(field, kinds));
        let fields: Map<String, Value> = fields.iter().map(field).collect();
        out.insert("properties".to_owned(), fields.into());
    }
    if let Some(items) = schema.get("items") {
        out.insert("items".to_owned(), structural(items, kinds));
    }
    if let Some(values @ Value::Object(_)) = schema.get("additionalProperties") {
        out.insert("additionalProperties".to_owned(), structural(values, kinds));
    }
    out.into()
}

fn merge(out: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        out.extend(more);
    }
}

/// One type instead of several: what may be absent needs no null, and a number or text is a type of
/// its own.
fn one_type(out: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = out.get("type") else { return };
    let types: Vec<Value> = types.iter().filter(|one| *one != "null").cloned().collect();
    match types.as_slice() {
        [only] => drop(out.insert("type".to_owned(), only.clone())),
        [_, _] if types.contains(&json!("integer")) && types.contains(&json!("string")) => {
            out.remove("type");
            out.insert("x-kubernetes-int-or-string".to_owned(), true.into());
        }
        _ => {
            out.remove("type");
            out.insert("x-kubernetes-preserve-unknown-fields".to_owned(), true.into());
        }
    }
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").is_some_and(|one| one == "null")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every node of a structural schema that Kubernetes would refuse.
    fn refused(schema: &Value, at: &str, out: &mut Vec<String>) {
        let keys = schema.as_object().unwrap();
        let is_typed = keys.get("type").is_some_and(Value::is_string);
        let is_open = ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"]
            .iter()
            .any(|key| keys.contains_key(*key));
        let forbidden = ["$ref", "anyOf", "oneOf", "const", "$defs", "title", "default"];
        if is_typed == is_open || forbidden.iter().any(|key| keys.contains_key(*key)) {
            out.push(format!("{at}: {schema}"));
        }
        for (name, field) in keys.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            refused(field, &format!("{at}.{name}"), out);
        }
        for inner in ["items", "additionalProperties"] {
            if let Some(inner) = keys.get(inner) {
                refused(inner, &format!("{at}[]"), out);
            }
        }
    }

    #[test]
    fn schemas_are_structural_and_know_every_kind() {
        let mut faults = Vec::new();
        for definition in definitions() {
            let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            assert!(schema["properties"]["spec"]["properties"].as_object().unwrap().len() > 1);
            refused(schema, definition["spec"]["names"]["kind"].as_str().unwrap(), &mut faults);
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn the_shipped_definitions_are_those_of_the_documents() {
        let shipped = include_str!("../../../deploy/kubernetes/crds.yaml");
        assert_eq!(shipped, text(), "run `governd policy crds > deploy/kubernetes/crds.yaml`");
    }
}
