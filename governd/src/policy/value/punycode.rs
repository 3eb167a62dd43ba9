//! Punycode (RFC 3492), only to tell people how an international name is written in ASCII.

const BASE: u32 = 36;
const THRESHOLD_MIN: u32 = 1;
const THRESHOLD_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const BIAS_FIRST: u32 = 72;
const CODE_FIRST: u32 = 128;

/// The A-label of a label (RFC 5890 section 2.3.2.1), lower-cased; `None` if it would be too long.
pub(super) fn a_label(label: &str) -> Option<String> {
    let label = label.to_lowercase();
    if label.is_ascii() {
        return Some(label);
    }
    let encoded = encode(&label)?;
    (encoded.len() <= 59).then(|| format!("xn--{encoded}"))
}

/// RFC 3492 section 6.3.
fn encode(label: &str) -> Option<String> {
    let mut out: String = label.chars().filter(char::is_ascii).collect();
    let basic = out.len() as u32;
    if basic > 0 {
        out.push('-');
    }
    let total = label.chars().count() as u32;
    let (mut code, mut delta, mut bias, mut handled) = (CODE_FIRST, 0_u32, BIAS_FIRST, basic);
    while handled < total {
        let next = label.chars().map(u32::from).filter(|one| *one >= code).min()?;
        delta = delta.checked_add((next - code).checked_mul(handled + 1)?)?;
        code = next;
        for character in label.chars().map(u32::from) {
            if character < code {
                delta = delta.checked_add(1)?;
            }
            if character == code {
                variable_length(delta, bias, &mut out);
                bias = adapt(delta, handled + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta = delta.checked_add(1)?;
        code += 1;
    }
    Some(out)
}

fn variable_length(delta: u32, bias: u32, out: &mut String) {
    let mut rest = delta;
    let mut position = BASE;
    loop {
        let threshold = position.saturating_sub(bias).clamp(THRESHOLD_MIN, THRESHOLD_MAX);
        if rest < threshold {
            out.push(digit(rest));
            return;
        }
        out.push(digit(threshold + (rest - threshold) % (BASE - threshold)));
        rest = (rest - threshold) / (BASE - threshold);
        position += BASE;
    }
}

/// RFC 3492 section 6.1.
fn adapt(delta: u32, points: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / DAMP } else { delta / 2 };
    delta += delta / points;
    let mut steps = 0;
    while delta > (BASE - THRESHOLD_MIN) * THRESHOLD_MAX / 2 {
        delta /= BASE - THRESHOLD_MIN;
        steps += BASE;
    }
    steps + (BASE - THRESHOLD_MIN + 1) * delta / (delta + SKEW)
}

/// RFC 3492 section 5: letters first, then digits.
fn digit(value: u32) -> char {
    let value = value as u8;
    char::from(if value < 26 { b'a' + value } else { b'0' + value - 26 })
}

#[cfg(test)]
mod tests {
    use super::a_label;

    #[test]
    fn labels_are_encoded_as_in_the_wild() {
        // RFC 3492 section 7.1 (L: with capitals, here lower-cased) and well-known names.
        for (label, expected) in [
            ("bücher", "xn--bcher-kva"),
            ("münchen", "xn--mnchen-3ya"),
            ("例え", "xn--r8jz45g"),
            ("他们为什么不说中文", "xn--ihqwcrb4cv8a8dqg056pqjye"),
            ("ليهمابتكلموشعربي؟", "xn--egbpdaj6bu4bxfgehfvwxn"),
            ("3年b組金八先生", "xn--3b-ww4c5e180e575a65lsy2b"),
            ("plain", "plain"),
            ("РОССИЯ", "xn--h1alffa9f"),
        ] {
            assert_eq!(a_label(label).as_deref(), Some(expected), "{label}");
        }
        assert_eq!(a_label(&"ü".repeat(200)), None);
    }
}
