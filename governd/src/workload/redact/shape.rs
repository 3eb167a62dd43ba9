//! Secrets that are known by their shape: prefixes of common kinds of tokens, and long strings
//! that look random.

use super::REDACTED;

/// Beginnings of tokens, and how many more characters make one.
const PREFIXES: &[(&str, usize)] = &[
    ("sk-", 12),
    ("sk_live_", 8),
    ("sk_test_", 8),
    ("rk_live_", 8),
    ("pk_live_", 8),
    ("ghp_", 16),
    ("gho_", 16),
    ("ghu_", 16),
    ("ghs_", 16),
    ("ghr_", 16),
    ("github_pat_", 16),
    ("glpat-", 12),
    ("gldt-", 12),
    ("xoxb-", 8),
    ("xoxp-", 8),
    ("xoxa-", 8),
    ("xoxs-", 8),
    ("xapp-", 8),
    ("AKIA", 16),
    ("ASIA", 16),
    ("ABIA", 16),
    ("AIza", 30),
    ("ya29.", 12),
    ("hf_", 16),
    ("r8_", 16),
    ("gsk_", 16),
    ("xai-", 16),
    ("pplx-", 16),
    ("nvapi-", 16),
    ("tvly-", 12),
    ("fw_", 16),
    ("csk-", 16),
    ("npm_", 20),
    ("pypi-", 20),
    ("dop_v1_", 16),
    ("SG.", 20),
    ("shpat_", 16),
    ("lsv2_", 16),
    ("pcsk_", 16),
    ("pul-", 20),
    ("dapi", 30),
    ("hvs.", 16),
    ("hvb.", 16),
    ("AGE-SECRET-KEY-", 16),
    ("tskey-", 12),
    ("eyJ", 16),
    ("sbp_", 20),
    ("re_", 20),
    ("lin_api_", 16),
    ("ntn_", 20),
    ("secret_", 20),
    ("figd_", 16),
    ("ATATT", 20),
    ("dckr_pat_", 12),
    ("whsec_", 12),
    ("phc_", 20),
    ("phx_", 20),
];
/// Shortest string that is judged by its randomness.
const RANDOM_LEN_MIN: usize = 20;
/// Shannon entropy, in thousandths of a bit per character, from which a string looks random.
const RANDOM_MILLIBITS_MIN: u32 = 3_200;

/// Replaces each run of token characters that has the shape of a secret.
pub(super) fn redact_tokens(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let run_len = rest.find(|symbol| !is_token_symbol(symbol)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(run_len);
        let is_digest = kept.ends_with("sha256:") || kept.ends_with("sha512:");
        push_run(&mut kept, run, is_digest || after.starts_with('@'));
        let symbol_len = after.chars().next().map_or(0, char::len_utf8);
        let (symbol, next) = after.split_at(symbol_len);
        kept.push_str(symbol);
        rest = next;
    }
    kept
}

fn is_token_symbol(symbol: char) -> bool {
    symbol.is_ascii_alphanumeric() || matches!(symbol, '+' | '/' | '_' | '-' | '.' | '~' | '=')
}

fn push_run(kept: &mut String, run: &str, is_public: bool) {
    let name_len = run.find('=').map_or(0, |at| at + 1);
    let is_assignment = name_len > 0 && name_len < run.len();
    let (name, value) = run.split_at(if is_assignment { name_len } else { 0 });
    kept.push_str(name);
    let is_path = value.starts_with('/')
        || value.starts_with("./")
        || value.starts_with("../")
        || value.starts_with('~')
        || value.matches('/').count() >= 4;
    let mut parts = value.split('/');
    let looks_random = || value.split('/').any(is_random) || is_random_base64(value);
    if parts.any(has_known_prefix) || (!is_path && !is_public && looks_random()) {
        kept.push_str(REDACTED);
    } else {
        kept.push_str(value);
    }
}

fn has_known_prefix(part: &str) -> bool {
    PREFIXES.iter().any(|(prefix, more)| {
        part.strip_prefix(prefix).is_some_and(|rest| {
            rest.len() >= *more
                && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte))
        })
    })
}

/// Long, made of one word, with digits among letters, or letters that change their case too often.
fn is_random(part: &str) -> bool {
    if is_uuid(part) {
        return false;
    }
    part.split(['-', '_', '.', '=', '~', '+']).any(|word| {
        let len = word.len();
        if len < RANDOM_LEN_MIN {
            return false;
        }
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let class = |byte: u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase());
        let changes =
            word.bytes().zip(word.bytes().skip(1)).filter(|(a, b)| class(*a) != class(*b)).count();
        let is_mixed = digits >= 2 && digits < len;
        (is_mixed || changes * 20 >= len * 9) && millibits(word) >= RANDOM_MILLIBITS_MIN
    })
}

/// Base64 with slashes in it: long, of all classes, changing between them more than words do.
fn is_random_base64(value: &str) -> bool {
    let word: Vec<u8> = value.bytes().filter(u8::is_ascii_alphanumeric).collect();
    let class = |byte: &u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase());
    let changes =
        word.iter().zip(word.iter().skip(1)).filter(|(a, b)| class(a) != class(b)).count();
    word.len() >= 36
        && value.contains('/')
        && word.iter().any(u8::is_ascii_digit)
        && word.iter().any(u8::is_ascii_lowercase)
        && word.iter().any(u8::is_ascii_uppercase)
        && changes * 10 >= word.len() * 3
}

fn is_uuid(part: &str) -> bool {
    let lens = part.split('-').map(str::len);
    lens.eq([8, 4, 4, 4, 12]) && part.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Shannon entropy of a string's characters, in thousandths of a bit.
fn millibits(word: &str) -> u32 {
    let mut counts = [0_u32; 256];
    for byte in word.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let len = word.len() as f64;
    let bits: f64 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / len)
        .map(|share| -share * share.log2())
        .sum();
    (bits * 1_000.0) as u32
}
