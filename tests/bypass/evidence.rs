//! What governd's log says of an attempt that arrived.

use std::collections::BTreeSet;

use anyhow::Result;
use governd_tests::daemon::Place;
use serde_json::Value;

use crate::attempt::{FOUND, Outcome, REACHED};

/// OCSF's class of findings.
const DETECTION_FINDING: u64 = 2004;

/// Turns an attempt that arrived into one that was found, if a finding about its process is of the
/// kind that `reason` names. The log must be complete: governd has ended.
pub(crate) fn judge(outcome: Outcome, place: &Place, reason: &str) -> Result<Outcome> {
    if outcome.word != REACHED {
        return Ok(outcome);
    }
    Ok(judge_by(outcome, &place.records()?, reason))
}

/// As [`judge`], with the records at hand.
pub(crate) fn judge_by(outcome: Outcome, records: &[Value], reason: &str) -> Outcome {
    if outcome.word != REACHED {
        return outcome;
    }
    let findings = records.iter().filter(|record| is_finding_about(record, outcome.pid));
    let kinds: BTreeSet<&str> = findings.filter_map(kind).collect();
    let is_named = kinds.iter().any(|kind| reason.contains(kind));
    let listed: Vec<&str> = kinds.into_iter().collect();
    let said = format!("{} | findings: [{}]", outcome.said, listed.join(", "));
    Outcome { word: if is_named { FOUND } else { REACHED }, said, ..outcome }
}

fn kind(record: &Value) -> Option<&str> {
    record.pointer("/unmapped/governd/kind")?.as_str()
}

/// Whether a record is a finding about a process or one of its descendants.
fn is_finding_about(record: &Value, pid: u32) -> bool {
    let number = |pointer: &str| record.pointer(pointer).and_then(Value::as_u64);
    if number("/class_uid") != Some(DETECTION_FINDING) {
        return false;
    }
    let pid = Some(u64::from(pid));
    let lineage = record.pointer("/unmapped/governd/lineage").and_then(Value::as_array);
    number("/evidences/0/actor/process/pid") == pid
        || lineage
            .into_iter()
            .flatten()
            .any(|ancestor| ancestor.get("pid").and_then(Value::as_u64) == pid)
}
