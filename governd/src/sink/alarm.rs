//! What a host says of itself that nobody may overlook: its findings of the highest severity.

use serde_json::Value;

/// As canonical JSON has it; few lines have it, and only those are read as JSON.
const FATAL: &str = "\"severity_id\":6,";
const DETECTION_FINDING: u64 = 2004;

/// Kind and title of a line that is such a finding.
pub(super) fn of(line: &str) -> Option<(String, String)> {
    if !line.contains(FATAL) {
        return None;
    }
    let record: Value = serde_json::from_str(line).ok()?;
    let is_finding =
        record.pointer("/class_uid").and_then(Value::as_u64) == Some(DETECTION_FINDING);
    let text = |path| record.pointer(path).and_then(Value::as_str).map(str::to_owned);
    is_finding.then_some((text("/unmapped/governd/kind")?, text("/message")?))
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn findings_of_the_highest_severity_are_told_and_nothing_else() {
        let line = |class, severity, more: &str| {
            format!(
                "{{\"class_uid\":{class},\"message\":\"passes{more}\",\"severity_id\":{severity},\
                 \"unmapped\":{{\"governd\":{{\"kind\":\"not-enforcing\"}}}}}}"
            )
        };
        let told = Some(("not-enforcing".to_owned(), "passes".to_owned()));
        assert_eq!(of(&line(2004, 6, "")), told);
        for other in [line(2004, 5, ""), line(4001, 6, ""), line(2004, 5, "\\\"severity_id\\\":6,")]
        {
            assert_eq!(of(&other), None, "{other}");
        }
    }
}
