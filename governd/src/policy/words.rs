//! Words for people: the nearest of several words, and lists of them.

/// The one of `known` that a person most likely meant, if any is near enough.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let distance = |one: &str| strsim::damerau_levenshtein(&word, &one.to_lowercase());
    let limit = (word.chars().count() / 3).max(1);
    let best =
        known.iter().map(|one| (distance(one), *one)).min_by_key(|(distance, _)| *distance)?;
    (best.0 <= limit).then_some(best.1)
}

/// `a`, `b` and `c`, each in backticks.
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// `1 rule`, `2 rules`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A label as part of a rule's id: lower case, with hyphens for everything else.
pub(crate) fn slug(label: &str) -> String {
    let replace =
        |one: char| if one.is_ascii_alphanumeric() { one.to_ascii_lowercase() } else { '-' };
    label.chars().map(replace).collect::<String>().trim_matches('-').to_owned()
}
