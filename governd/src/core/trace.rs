//! Which trace a process is a part of, as whoever started it said in its environment
//! (`TRACEPARENT`, W3C Trace Context, section 3.2.2).

use std::sync::Arc;

/// The variable.
pub const VARIABLE: &str = "TRACEPARENT";
/// Characters of a value: `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const VALUE_BYTES: usize = 55;

/// The trace id of a `traceparent` value; `None` if it is not one. A version above 00 may carry
/// more behind a dash.
pub fn trace_id(value: &[u8]) -> Option<Arc<str>> {
    let (head, rest) = value.split_at_checked(VALUE_BYTES)?;
    let mut fields = head.split(|byte| *byte == b'-');
    let (version, trace, parent, flags) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_hex = |field: &[u8], digits: usize| {
        field.len() == digits && field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |field: &[u8]| field.iter().all(|byte| *byte == b'0');
    let has_shape = is_hex(version, 2)
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && fields.next().is_none();
    let is_whole = match version {
        b"ff" => false,
        b"00" => rest.is_empty(),
        _ => rest.is_empty() || rest.starts_with(b"-"),
    };
    let is_trace = has_shape && is_whole && !is_zero(trace) && !is_zero(parent);
    std::str::from_utf8(trace).ok().filter(|_| is_trace).map(Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_standard_allows_has_a_trace() {
        const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let rows = [
            ("00-ID-00f067aa0ba902b7-01", true),
            ("00-ID-00f067aa0ba902b7-00", true),
            ("cc-ID-00f067aa0ba902b7-01-what-comes", true),
            ("cc-ID-00f067aa0ba902b7-01", true),
            ("cc-ID-00f067aa0ba902b7-01.what", false),
            ("00-ID-00f067aa0ba902b7-01-more", false),
            ("ff-ID-00f067aa0ba902b7-01", false),
            ("00-ID-0000000000000000-01", false),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false),
            ("00-ID-00f067aa0ba902b7-0", false),
            ("00-ID-00f067aa0ba902b7", false),
            ("00-ID00f067aa0ba902b7--01", false),
            ("0--ID-00f067aa0ba902b7-01", false),
            ("00_ID_00f067aa0ba902b7_01", false),
            ("sk-abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrs", false),
            ("", false),
        ];
        for (text, is_trace) in rows {
            let found = trace_id(text.replace("ID", ID).as_bytes());
            assert_eq!(found.as_deref(), is_trace.then_some(ID), "{text}");
        }
        assert_eq!(trace_id(&[0xff; 55]), None);
    }
}
