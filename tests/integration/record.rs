//! Reading records.

use serde_json::Value;

/// A string below a JSON pointer; empty if there is none.
pub(crate) fn text<'a>(record: &'a Value, pointer: &str) -> &'a str {
    record.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A number below a JSON pointer.
pub(crate) fn number(record: &Value, pointer: &str) -> Option<u64> {
    record.pointer(pointer)?.as_u64()
}

/// Whether it is a decision about a flow of this agent to this address.
pub(crate) fn is_flow(record: &Value, agent: &str, address: &str) -> bool {
    number(record, "/class_uid") == Some(4001)
        && text(record, "/unmapped/governd/agent/name") == agent
        && text(record, "/dst_endpoint/ip") == address
}

/// `allow`, `deny` or `would-deny`.
pub(crate) fn verdict(record: &Value) -> &str {
    let would = record.pointer("/unmapped/governd/decision/would_deny").and_then(Value::as_bool);
    match (text(record, "/unmapped/governd/decision/verdict"), would) {
        ("deny", Some(true)) => "would-deny",
        (word, _) => word,
    }
}

/// Names of the processes in a lineage, nearest first.
pub(crate) fn lineage(record: &Value) -> Vec<&str> {
    let steps = record.pointer("/unmapped/governd/lineage").and_then(Value::as_array);
    steps.into_iter().flatten().filter_map(|step| step.get("name")?.as_str()).collect()
}
