//! Spans of time, such as `1h`.

use super::fault::Fault;
use crate::policy::diagnostic::Code;

const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

/// Reads a span of at least a second, in seconds.
///
/// # Errors
/// It is none.
pub fn parse_span(text: &str) -> Result<u64, Fault> {
    let seconds = UNITS.iter().find_map(|(unit, seconds)| {
        text.strip_suffix(*unit)?.parse::<u64>().ok()?.checked_mul(*seconds)
    });
    seconds.filter(|seconds| *seconds > 0).ok_or_else(|| {
        let message = format!("`{text}` is no span of time");
        Fault::new(Code::BadWord, message).hint("write it as 30s, 15m, 2h or 7d")
    })
}
