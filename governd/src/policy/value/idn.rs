//! International names: written as people read them, kept as they go over the wire (A-labels).

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::Fault;
use crate::policy::{diagnostic::Code, yaml::deceives};

/// The A-labels of a name that is not ASCII (UTS #46, without the mappings of IDNA 2003), in lower
/// case. What an ASCII label may have in it is not looked at.
///
/// # Errors
/// No such name can be, or it would be another one than it looks like.
pub(super) fn to_ascii(text: &str, name: &str) -> Result<String, Fault> {
    let bad = |why: String, hint: String| {
        Err(Fault::new(Code::BadPattern, format!("`{text}` is no international name: {why}"))
            .hint(hint))
    };
    let another = "write another name, or its A-labels (xn--…) as they go over the wire";
    if let Some(hidden) = name.chars().find(|one| deceives(*one)) {
        let why = format!("U+{:04X} is invisible or changes its direction", u32::from(hidden));
        return bad(why, "delete it".to_owned());
    }
    let Some(ascii) = a_labels(name) else {
        return bad(fault_of(name), another.to_owned());
    };
    let written: Vec<&str> = name.split('.').collect();
    let meant: Vec<&str> = ascii.split('.').collect();
    let is_another = |(written, meant): (&&str, &&str)| {
        !written.is_ascii() && !written.contains(char::is_whitespace) && !meant.starts_with("xn--")
    };
    if written.len() != meant.len() || written.iter().zip(&meant).any(is_another) {
        let why = "it only looks international".to_owned();
        return bad(why, format!("write {ascii}"));
    }
    Ok(ascii)
}

fn a_labels(name: &str) -> Option<String> {
    let rules = Uts46::new();
    let ascii =
        rules.to_ascii(name.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore);
    ascii.ok().map(|ascii| ascii.into_owned())
}

/// Why there are no A-labels of a name.
fn fault_of(name: &str) -> String {
    let cannot_be = |one: &char| {
        !one.is_ascii()
            && a_labels(&one.to_string()).is_none()
            && a_labels(&format!("x{one}")).is_none()
    };
    if let Some(one) = name.chars().find(cannot_be) {
        return format!("U+{:04X} cannot be in one", u32::from(one));
    }
    match name.split('.').find(|label| a_labels(label).is_none()) {
        Some(label) => format!("the characters of `{label}` cannot stand together in this order"),
        None => "its labels are read in different directions".to_owned(),
    }
}

/// A label of a name whose letters are of alphabets that look alike, as a person reads it.
pub(crate) fn mixed_label(base: &str) -> Option<String> {
    let is_international = |label: &&str| label.starts_with("xn--");
    base.split('.').filter(is_international).find_map(|label| {
        let (label, _) =
            Uts46::new().to_unicode(label.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow);
        let mut alphabets = label.chars().filter_map(alphabet);
        let first = alphabets.next()?;
        alphabets.any(|other| other != first).then(|| label.into_owned())
    })
}

/// Alphabets whose letters pass for one another's.
fn alphabet(letter: char) -> Option<&'static str> {
    match letter {
        'a'..='z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => Some("Latin"),
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Some("Greek"),
        '\u{400}'..='\u{52f}' => Some("Cyrillic"),
        '\u{530}'..='\u{58f}' => Some("Armenian"),
        '\u{13a0}'..='\u{13ff}' | '\u{ab70}'..='\u{abbf}' => Some("Cherokee"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_as_they_go_over_the_wire() {
        // RFC 3492 section 7.1 (L: with capitals, which fold) and well-known names.
        for (name, expected) in [
            ("bücher.example", "xn--bcher-kva.example"),
            ("München.DE", "xn--mnchen-3ya.de"),
            ("faß.example", "xn--fa-hia.example"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("他们为什么不说中文", "xn--ihqwcrb4cv8a8dqg056pqjye"),
            ("3年b組金八先生", "xn--3b-ww4c5e180e575a65lsy2b"),
            ("api.РОССИЯ", "api.xn--h1alffa9f"),
            ("שלום.example", "xn--9dbne9b.example"),
        ] {
            assert_eq!(to_ascii(name, name).ok().as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_or_is_another_is_told() {
        for (name, why) in [
            ("a\u{200d}ü.example", "U+200D is invisible or changes its direction"),
            ("b\u{e9}\u{2028}x", "U+2028 is invisible or changes its direction"),
            ("ü\u{fffd}.example", "U+FFFD cannot be in one"),
            ("שaלום.example", "the characters of `שaלום` cannot stand together in this order"),
            (
                "\u{301}ü.example",
                "the characters of `\u{301}ü` cannot stand together in this order",
            ),
            ("שלום.1a", "its labels are read in different directions"),
            ("ｅxample.com", "it only looks international"),
            ("pay\u{ad}pal.com", "it only looks international"),
            ("bücher。example", "it only looks international"),
        ] {
            let fault = to_ascii(name, name).err().map(|fault| fault.message);
            let fault = fault.unwrap_or_else(|| "nothing".to_owned());
            assert!(fault.contains(why), "{name}: {fault}");
        }
    }

    #[test]
    fn letters_that_pass_for_others_are_found() {
        for (name, expected) in [
            ("pаypal.com", Some("pаypal")),
            ("аррӏе.com", None),
            ("bücher.example", None),
            ("例えabc.example", None),
            ("xn--pypal-4ve.com", Some("pаypal")),
        ] {
            let ascii =
                if name.is_ascii() { name.to_owned() } else { to_ascii(name, name).unwrap() };
            assert_eq!(mixed_label(&ascii).as_deref(), expected, "{name}");
        }
    }
}
