//! Canonical JSON (RFC 8785, JCS): one value has one sequence of bytes, so that its hash can be
//! computed again by anybody. Not a parser, and no order of arrays is changed.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

pub use object::{Fields, Object, Plain, Shown, Text, array, object, text};

mod object;

/// Largest integer that a double, and therefore canonical JSON, holds exactly (RFC 7493
/// section 2.2).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// An integer as a JSON value: a number where a double holds it exactly, else its decimal digits as
/// a string, so that no reader rounds it.
pub fn integer(value: u64) -> Value {
    if value <= INTEGER_MAX { Value::from(value) } else { Value::from(value.to_string()) }
}

/// The canonical bytes of a value, without a final newline.
///
/// Integers beyond [`INTEGER_MAX`] come out as the nearest double, as RFC 8785 section 3.2.2.3 has
/// it; [`integer`] keeps them exact.
pub fn to_string(value: &Value) -> String {
    let mut out = String::with_capacity(2_048);
    write_value(&mut out, value);
    out
}

/// Bytes that a string takes in canonical JSON, without its quotes.
pub fn escaped_len(text: &str) -> usize {
    text.chars().map(escaped_char_len).sum()
}

/// Bytes that a character takes inside a string of canonical JSON.
pub fn escaped_char_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_text(out, text),
        Value::Array(items) => write_array(out, items),
        Value::Object(map) => write_object(out, map),
    }
}

fn write_array(out: &mut String, items: &[Value]) {
    out.push('[');
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write_value(out, item);
    }
    out.push(']');
}

/// Keys are ordered by their UTF-16 code units (section 3.2.3), which differs from the order of
/// their UTF-8 bytes beyond U+FFFF.
fn write_object(out: &mut String, map: &Map<String, Value>) {
    // The usual case, in which both orders are the same and the map has it already.
    if map.keys().all(|key| key.is_ascii()) && map.keys().is_sorted() {
        return write_entries(out, map);
    }
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_unstable_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    write_entries(out, entries);
}

fn write_entries<'a>(out: &mut String, entries: impl IntoIterator<Item = (&'a String, &'a Value)>) {
    out.push('{');
    for (position, (key, value)) in entries.into_iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write_text(out, key);
        out.push(':');
        write_value(out, value);
    }
    out.push('}');
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    write_escaped(out, text);
    out.push('"');
}

/// Appends what stands between the quotes of a string.
pub fn write_escaped(out: &mut String, text: &str) {
    // Nearly all text needs no escape, which one pass without branches tells.
    if text.bytes().fold(true, |plain, byte| plain & !is_escaped(byte)) {
        return out.push_str(text);
    }
    let mut plain = 0;
    // What is escaped is one byte long, and no byte of a longer character looks like it.
    for (at, byte) in text.bytes().enumerate() {
        if !is_escaped(byte) {
            continue;
        }
        out.push_str(text.get(plain..at).unwrap_or_default());
        plain = at + 1;
        write_escape(out, char::from(byte));
    }
    out.push_str(text.get(plain..).unwrap_or_default());
}

const fn is_escaped(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < b' ')
}

fn write_escape(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{8}' => out.push_str("\\b"),
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\u{c}' => out.push_str("\\f"),
        '\r' => out.push_str("\\r"),
        // Writing to a String does not fail.
        _ => write!(out, "\\u{:04x}", u32::from(c)).unwrap_or_default(),
    }
}

fn write_number(out: &mut String, number: &Number) {
    if let Some(integer) = number.as_u64().filter(|n| *n <= INTEGER_MAX) {
        return write!(out, "{integer}").unwrap_or_default();
    }
    if let Some(integer) = number.as_i64().filter(|n| n.unsigned_abs() <= INTEGER_MAX) {
        return write!(out, "{integer}").unwrap_or_default();
    }
    // serde_json's numbers are finite, and each of its three forms converts.
    write_double(out, number.as_f64().unwrap_or_default());
}

/// `Number::toString` of ECMAScript (section 6.1.6.1.20). The digits are the shortest that read
/// back as the same double, the even ones of two that are equally near: serde_json's, where Rust's
/// own formatting rounds such ties up.
fn write_double(out: &mut String, value: f64) {
    if value == 0.0 {
        return out.push('0');
    }
    if value < 0.0 {
        out.push('-');
    }
    let (digits, point) = shortest_digits(value.abs());
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or_default());
    let split = |at: i32| digits.split_at_checked(usize::try_from(at).unwrap_or_default());
    if count <= point && point <= 21 {
        out.push_str(&digits);
        out.push_str(&zeros(point - count));
    } else if 0 < point && point <= 21 {
        let (whole, fraction) = split(point).unwrap_or((&digits, ""));
        out.push_str(whole);
        out.push('.');
        out.push_str(fraction);
    } else if -6 < point && point <= 0 {
        out.push_str("0.");
        out.push_str(&zeros(-point));
        out.push_str(&digits);
    } else {
        let (first, rest) = split(1).unwrap_or((&digits, ""));
        out.push_str(first);
        if !rest.is_empty() {
            out.push('.');
            out.push_str(rest);
        }
        write!(out, "e{:+}", point - 1).unwrap_or_default();
    }
}

/// The digits of a positive double, and where the point stands: the value is 0.digits × 10^point.
fn shortest_digits(value: f64) -> (String, i32) {
    let text = Number::from_f64(value).map(|number| number.to_string()).unwrap_or_default();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    let leading_zeros = all.len() - digits.len();
    let point = exponent.parse::<i32>().unwrap_or_default()
        + i32::try_from(whole.len()).unwrap_or_default()
        - i32::try_from(leading_zeros).unwrap_or_default();
    (digits.trim_end_matches('0').to_owned(), point)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn double(bits: u64) -> String {
        let mut out = String::new();
        write_double(&mut out, f64::from_bits(bits));
        out
    }

    /// RFC 8785 appendix B.
    #[test]
    fn doubles_are_written_as_ecmascript_does() {
        let rows: &[(u64, &str)] = &[
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ];
        for (bits, want) in rows {
            assert_eq!(double(*bits), *want, "{bits:016x}");
        }
    }

    /// RFC 8785 section 3.2.2.
    #[test]
    fn the_example_of_the_rfc_comes_out_as_printed_there() {
        let value: Value = serde_json::from_str(
            r#"{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
                "literals": [null, true, false]}"#,
        )
        .unwrap();
        let want = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,\
                    0.002,1e-27],\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(to_string(&value), want);
    }

    /// RFC 8785 section 3.2.3: the astral U+1F600 sorts by its surrogates, before U+FB33.
    #[test]
    fn keys_are_ordered_by_utf_16_code_units() {
        let value = json!({
            "\u{20ac}": "Euro Sign", "\r": "Carriage Return",
            "\u{fb33}": "Hebrew Letter Dalet With Dagesh", "1": "One", "\u{1f600}": "Emoji",
            "\u{80}": "Control", "\u{f6}": "Latin Small Letter O With Diaeresis"
        });
        let text = to_string(&value);
        let wanted =
            ["Carriage Return", "One", "Control", "Latin Small", "Euro Sign", "Emoji", "Hebrew"];
        let found: Vec<usize> = wanted.iter().map(|name| text.find(name).unwrap()).collect();
        assert!(found.is_sorted(), "{text}");
    }

    #[test]
    fn integers_that_a_double_cannot_hold_stay_exact_as_text() {
        assert_eq!(to_string(&integer(INTEGER_MAX)), "9007199254740991");
        assert_eq!(to_string(&integer(u64::MAX)), "\"18446744073709551615\"");
        assert_eq!(to_string(&json!(u64::MAX)), "18446744073709552000");
        assert_eq!(to_string(&json!(-1)), "-1");
        assert_eq!(to_string(&json!(i64::MIN)), "-9223372036854776000");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u32>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_text_reads_back_and_is_a_fixed_point(value in any_value()) {
            let text = to_string(&value);
            let again: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(to_string(&again), text);
        }

        #[test]
        fn a_double_reads_back_as_itself(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let read: f64 = double(bits).parse().unwrap();
            prop_assert_eq!(read, value);
        }

        #[test]
        fn the_length_of_an_escaped_string_is_known(text in any::<String>()) {
            prop_assert_eq!(escaped_len(&text) + 2, to_string(&Value::from(text)).len());
        }
    }
}
