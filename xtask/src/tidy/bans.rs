//! What belongs to one place only: aya, `unsafe`, map names and printing; locks give a reason.

use anyhow::{Context, Result};
use syn::{Expr, Item, Lit};

use super::{
    Findings,
    rust::{Rust, Token},
};

/// The only file in which map names are literals.
pub(super) const NAMES: &str = "governd-common/src/names.rs";

/// Where aya may be named. The eBPF crate's own library is another one.
const AYA: &[&str] = &["governd/src/kernel/", "governd-ebpf/"];
/// Where `unsafe` may be written.
const UNSAFE: &[&str] = &["governd-ebpf/", "governd/src/kernel/"];
/// What could reach a map by its name; elsewhere the same word is another one.
const MAPS: &[&str] = &["governd-ebpf/", "governd/src/kernel/", "governd/build.rs", "tests/"];
/// Who may print: the command line's printer, xtask's voice, and what cargo or the harness reads.
const PRINT: &[&str] = &["governd/src/cli/printer.rs", "xtask/src/say.rs", "tests/"];

/// The names of maps: values of the constants in `mod map`.
pub(super) fn map_names(source: &str) -> Result<Vec<String>> {
    let file = syn::parse_file(source).context("the list of names does not parse")?;
    let items = file.items.into_iter().filter_map(|item| match item {
        Item::Mod(module) if module.ident == "map" => module.content.map(|(_, items)| items),
        _ => None,
    });
    let names: Vec<_> = items.flatten().filter_map(|item| literal(&item)).collect();
    if names.is_empty() {
        anyhow::bail!("{NAMES} lists no map names; hint: they are constants in `mod map`");
    }
    Ok(names)
}

fn literal(item: &Item) -> Option<String> {
    let Item::Const(constant) = item else { return None };
    let Expr::Lit(expression) = &*constant.expr else { return None };
    let Lit::Str(text) = &expression.lit else { return None };
    Some(text.value())
}

pub(super) fn check(rust: &Rust<'_>, maps: &[String], findings: &mut Findings<'_>) {
    let is_in = |places: &[&str]| places.iter().any(|place| rust.file.starts_with(place));
    if !is_in(AYA) {
        for named in rust.named.iter().filter(|named| is_aya(&named.segments)) {
            findings.add(named.line, "aya", "only the room `kernel` names aya");
        }
    }
    for (index, token) in rust.tokens.iter().enumerate() {
        let next = |distance: usize| -> &str {
            rust.tokens.get(index + distance).map_or("", |token| token.text.as_str())
        };
        if token.text == "unsafe" && !is_in(UNSAFE) {
            findings.add(
                token.line,
                "unsafe",
                "`unsafe` is written only in the rooms named for it",
            );
        }
        if is_in(MAPS) && is_map_name(token, maps) {
            let message =
                format!("{} is a map's name; use the constant of `names::map`", token.text);
            findings.add(token.line, "map-name", message);
        }
        let may_print = is_in(PRINT) || is_build_script(rust.file) || rust.is_test(token.line);
        if is_print(&token.text) && next(1) == "!" && !may_print {
            let message = format!("`{}!` belongs to the printer", token.text);
            findings.add(token.line, "print", message);
        }
        if token.text == "Arc" && next(1) == "<" && is_mutex(&rust.tokens, index + 2) {
            let above = token.line.checked_sub(2).and_then(|line| rust.lines.get(line));
            if !above.is_some_and(|line| line.trim_start().starts_with("//")) {
                findings.add(token.line, "arc-mutex", "give the reason on the line above");
            }
        }
    }
}

fn is_aya(segments: &[String]) -> bool {
    match segments {
        [first, _, ..] => first == "aya" || first == "aya_obj" || first == "aya_log",
        [only] => only == "aya",
        [] => false,
    }
}

fn is_map_name(token: &Token, maps: &[String]) -> bool {
    let text = token.text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    token.is_literal && text.is_some_and(|text| maps.iter().any(|map| map == text))
}

fn is_print(word: &str) -> bool {
    matches!(word, "print" | "println" | "eprint" | "eprintln")
}

/// A build script talks to cargo by printing.
fn is_build_script(file: &str) -> bool {
    file.ends_with("/build.rs")
}

/// Whether a type that begins at `index`, perhaps with a path, is a `Mutex`.
fn is_mutex(tokens: &[Token], index: usize) -> bool {
    let path = tokens.iter().skip(index).take_while(|token| token.text != "<");
    let path: Vec<_> = path.take(8).map(|token| token.text.as_str()).collect();
    path.last() == Some(&"Mutex") && path.iter().all(|text| !matches!(*text, ">" | "," | ";"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::violations;

    #[test]
    fn aya_is_named_in_one_room() {
        assert_eq!(violations("governd/src/app.rs", "use aya::Ebpf;"), [("aya", 1)]);
        assert_eq!(violations("tests/integration/a.rs", "fn f() { aya::x(); }"), [("aya", 1)]);
        assert_eq!(violations("governd/src/kernel/a.rs", "use aya::Ebpf;"), []);
        assert_eq!(violations("governd-ebpf/src/a.rs", "use aya_ebpf::maps;"), []);
    }

    #[test]
    fn unsafe_has_its_rooms() {
        let text = "fn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(violations("governd/src/app.rs", text), [("unsafe", 2)]);
        assert_eq!(violations("governd-ebpf/src/main.rs", text), []);
        assert_eq!(violations("governd/src/app.rs", "/// unsafe\nfn f() {}\n"), []);
    }

    #[test]
    fn a_map_name_is_a_literal_once() {
        let text = "const A: &str = \"TASKS\";\nconst B: &str = \"TASKS_MAX\";\n";
        assert_eq!(violations("governd/src/kernel/a.rs", text), [("map-name", 1)]);
        assert_eq!(violations(NAMES, text), []);
        assert_eq!(violations("governd/src/cli/watch.rs", text), []);
        let names = "pub mod map { pub const A: &str = \"ONE\"; pub const B: &str = \"TWO\"; }\n\
                     pub mod program { pub const C: &str = \"three\"; }";
        assert_eq!(map_names(names).unwrap(), ["ONE", "TWO"]);
        assert!(map_names("").is_err());
    }

    #[test]
    fn only_the_printer_prints() {
        let text = "fn f() {\n    eprintln!(\"a\");\n    m!(println!(\"b\"));\n}\n";
        assert_eq!(violations("governd/src/app.rs", text), [("print", 2), ("print", 3)]);
        assert_eq!(violations("governd/src/cli/printer.rs", text), []);
        assert_eq!(violations("governd/build.rs", text), []);
        assert_eq!(violations("governd/src/kernel/tests/a.rs", text), []);
    }

    #[test]
    fn a_shared_lock_gives_its_reason() {
        let bare = "struct A {\n    a: u8,\n    b: Arc<Mutex<u8>>,\n    \
                    c: Arc<std::sync::Mutex<u8>>,\n}\n";
        assert_eq!(violations("governd/src/app.rs", bare), [("arc-mutex", 3), ("arc-mutex", 4)]);
        let reasoned = "struct A {\n    // Two tasks write it.\n    b: Arc<Mutex<u8>>,\n}\n";
        assert_eq!(violations("governd/src/app.rs", reasoned), []);
        let other = "struct A {\n    a: Arc<B>,\n    b: Mutex<u8>,\n}\n";
        assert_eq!(violations("governd/src/app.rs", other), []);
    }
}
