//! Patterns with `*` for any characters.

/// Whether a text matches a pattern as a whole. Takes time in proportion to both lengths at worst.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                at_pattern += 1;
                retry = Some((at_pattern, at_text));
                continue;
            }
            expected if expected == text.get(at_text) => {
                at_pattern += 1;
                at_text += 1;
                continue;
            }
            _ => {}
        }
        let Some((after_star, from)) = retry else { return false };
        // The last star takes one character more.
        retry = Some((after_star, from + 1));
        (at_pattern, at_text) = (after_star, from + 1);
    }
    pattern.get(at_pattern..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// Whether a host name matches a pattern in which `*` is one or more characters but a dot. Both in
/// lower case.
pub(super) fn matches_host(pattern: &str, host: &str) -> bool {
    let mut labels = host.split('.');
    let fits = pattern.split('.').all(|pattern| {
        labels.next().is_some_and(|label| label.len() >= pattern.len() && matches(pattern, label))
    });
    fits && labels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_characters() {
        let rows = [
            ("claude", "claude", true),
            ("claude", "claudex", false),
            ("*", "", true),
            ("*/x/*", "/a/x/b", true),
            ("*/x/*", "/x/", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3cd", false),
            ("*--yolo*", "gemini --yolo -p x", true),
            ("ab*", "a", false),
            ("", "", true),
            ("", "a", false),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_star_in_a_host_stays_within_a_label_and_is_not_empty() {
        let rows = [
            ("bedrock-runtime.*.amazonaws.com", "bedrock-runtime.us-east-1.amazonaws.com", true),
            ("bedrock-runtime.*.amazonaws.com", "bedrock-runtime.amazonaws.com", false),
            ("bedrock-runtime.*.amazonaws.com", "bedrock-runtime.a.b.amazonaws.com", false),
            ("*-aiplatform.googleapis.com", "us-central1-aiplatform.googleapis.com", true),
            ("*-aiplatform.googleapis.com", "-aiplatform.googleapis.com", false),
            ("*.x.com", "x.com", false),
            ("*.x.com", "a.x.com", true),
            ("*.x.com", "a.x.com.evil", false),
        ];
        for (pattern, host, expected) in rows {
            assert_eq!(matches_host(pattern, host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn hostile_patterns_take_no_long_time() {
        let text = "a".repeat(4_096);
        assert!(!matches(&"a*".repeat(64).replace("a*a*", "*a*ab*"), &text));
    }
}
