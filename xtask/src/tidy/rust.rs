//! A Rust file as the rules see it: its tokens, the paths it names, its functions, and which of its
//! lines are tests.
//!
//! Paths are read from the tokens, so those inside macros count too; `use` trees are spelled out.

use std::ops::RangeInclusive;

use anyhow::{Result, anyhow};
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{Attribute, UseTree, spanned::Spanned, visit::Visit};

/// A token, delimiters included.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
    /// Where it ends; only a literal can end later than it begins.
    pub(super) last_line: usize,
    pub(super) is_literal: bool,
}

/// A path that the file names, such as `std::fs::read`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Named {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
}

/// A function with a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) lines: RangeInclusive<usize>,
}

/// A parsed file.
pub(super) struct Rust<'a> {
    pub(super) file: &'a str,
    pub(super) lines: Vec<&'a str>,
    pub(super) tokens: Vec<Token>,
    pub(super) named: Vec<Named>,
    pub(super) functions: Vec<Function>,
    tests: Vec<RangeInclusive<usize>>,
}

impl<'a> Rust<'a> {
    pub(super) fn parse(file: &'a str, text: &'a str) -> Result<Self> {
        let syntax = syn::parse_file(text).map_err(|error| place_error(&error))?;
        let stream: TokenStream = text.parse().map_err(|error| anyhow!("{error}"))?;
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        let mut collector = Collector::default();
        collector.visit_file(&syntax);
        let mut named = runs(&tokens);
        named.append(&mut collector.uses);
        Ok(Self {
            file,
            lines: text.lines().collect(),
            tokens,
            named,
            functions: collector.functions,
            tests: collector.tests,
        })
    }

    /// Whether the file holds nothing but tests: `tests.rs` or below a folder `tests`.
    pub(super) fn is_test_file(&self) -> bool {
        self.file.ends_with("/tests.rs")
            || self.file.contains("/tests/")
            || self.file.starts_with("tests/integration/")
    }

    /// Whether a line belongs to a string that goes over several.
    pub(super) fn is_in_string(&self, line: usize) -> bool {
        let literals = self.tokens.iter().filter(|token| token.is_literal);
        literals.into_iter().any(|token| token.line < line && line <= token.last_line)
    }

    /// Whether a line belongs to a test.
    pub(super) fn is_test(&self, line: usize) -> bool {
        self.is_test_file() || self.tests.iter().any(|range| range.contains(&line))
    }
}

fn place_error(error: &syn::Error) -> anyhow::Error {
    let start = error.span().start();
    anyhow!("line {}: {error}", start.line)
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    let token = |text: String, span: Span| Token {
        text,
        line: span.start().line,
        last_line: span.end().line,
        is_literal: false,
    };
    for tree in stream {
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    proc_macro2::Delimiter::Parenthesis => ("(", ")"),
                    proc_macro2::Delimiter::Brace => ("{", "}"),
                    proc_macro2::Delimiter::Bracket => ("[", "]"),
                    proc_macro2::Delimiter::None => ("", ""),
                };
                tokens.push(token(open.to_owned(), group.span_open()));
                flatten(group.stream(), tokens);
                tokens.push(token(close.to_owned(), group.span_close()));
            }
            TokenTree::Literal(literal) => {
                let mut token = token(literal.to_string(), literal.span());
                token.is_literal = true;
                tokens.push(token);
            }
            TokenTree::Ident(ident) => tokens.push(token(ident.to_string(), ident.span())),
            TokenTree::Punct(punct) => tokens.push(token(punct.to_string(), punct.span())),
        }
    }
}

/// Whether a token is a name or keyword.
pub(super) fn is_word(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c == '_' || c.is_alphabetic())
}

/// Names joined by `::`, wherever they stand.
fn runs(tokens: &[Token]) -> Vec<Named> {
    let mut named: Vec<Named> = Vec::new();
    let mut is_joined = false;
    let mut colons = 0;
    for token in tokens {
        if !token.is_literal && is_word(&token.text) {
            match named.last_mut() {
                Some(last) if is_joined => last.segments.push(token.text.clone()),
                _ => named.push(Named { segments: vec![token.text.clone()], line: token.line }),
            }
            (is_joined, colons) = (false, 0);
        } else if token.text == ":" {
            colons += 1;
            is_joined = colons == 2;
        } else {
            (is_joined, colons) = (false, 0);
        }
    }
    named
}

#[derive(Default)]
struct Collector {
    uses: Vec<Named>,
    functions: Vec<Function>,
    tests: Vec<RangeInclusive<usize>>,
}

impl Collector {
    fn function(&mut self, signature: &syn::Signature, end: Span) {
        let lines = signature.span().start().line..=end.end().line;
        self.functions.push(Function { name: signature.ident.to_string(), lines });
    }

    fn tree(&mut self, tree: &UseTree, prefix: &mut Vec<String>) {
        let mut leaf = |segments: Vec<String>, line| self.uses.push(Named { segments, line });
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.tree(&path.tree, prefix);
                prefix.pop();
            }
            UseTree::Group(group) => {
                for item in &group.items {
                    self.tree(item, prefix);
                }
            }
            UseTree::Name(name) => leaf(joined(prefix, &name.ident), name.span().start().line),
            UseTree::Rename(name) => leaf(joined(prefix, &name.ident), name.span().start().line),
            UseTree::Glob(glob) => leaf(prefix.clone(), glob.span().start().line),
        }
    }
}

fn joined(prefix: &[String], last: &syn::Ident) -> Vec<String> {
    let mut segments = prefix.to_vec();
    if last != "self" {
        segments.push(last.to_string());
    }
    segments
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if attributes(item).iter().any(is_test_attribute) {
            let span = item.span();
            self.tests.push(span.start().line..=span.end().line);
        }
        syn::visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if item.attrs.iter().any(is_test_attribute) {
            let span = item.span();
            self.tests.push(span.start().line..=span.end().line);
        }
        self.function(&item.sig, item.block.span());
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, item.block.span());
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig, body.span());
        }
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &mut Vec::new());
    }
}

fn attributes(item: &syn::Item) -> &[Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[test]`, or `#[cfg(…)]` on `test` without a `not`.
fn is_test_attribute(attribute: &Attribute) -> bool {
    if attribute.path().is_ident("test") {
        return true;
    }
    let syn::Meta::List(list) = &attribute.meta else { return false };
    if !list.path.is_ident("cfg") {
        return false;
    }
    let mut tokens = Vec::new();
    flatten(list.tokens.clone(), &mut tokens);
    let has = |word: &str| tokens.iter().any(|token| token.text == word);
    has("test") && !has("not")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let rust = Rust::parse("a.rs", text).unwrap();
        rust.named.iter().map(|named| named.segments.join("::")).collect()
    }

    #[test]
    fn use_trees_are_spelled_out() {
        let found = paths("use std::{fs::{self, File}, io as i, time::*};");
        for path in ["std::fs", "std::fs::File", "std::io", "std::time"] {
            assert!(found.contains(&path.to_owned()), "{path} in {found:?}");
        }
    }

    #[test]
    fn paths_inside_macros_count() {
        let found = paths("fn f() { select! { x = tokio::time::sleep(a::B) => () } }");
        assert!(found.contains(&"tokio::time::sleep".to_owned()), "{found:?}");
        assert!(found.contains(&"a::B".to_owned()), "{found:?}");
    }

    #[test]
    fn a_type_ascription_joins_nothing() {
        let found = paths("fn f(a: B) { let c: D = a; }");
        assert!(!found.iter().any(|path| path.contains("::")), "{found:?}");
    }

    #[test]
    fn tests_are_told_from_code() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n\
                    #[cfg(not(test))]\nfn c() {}\n";
        let rust = Rust::parse("governd/src/a.rs", text).unwrap();
        let lines: Vec<_> = (1..=7).filter(|line| rust.is_test(*line)).collect();
        assert_eq!(lines, [2, 3, 4, 5]);
        assert!(Rust::parse("governd/src/policy/tests.rs", text).unwrap().is_test(1));
    }

    #[test]
    fn a_file_that_is_no_rust_tells_the_line() {
        let error = Rust::parse("a.rs", "\nfn {").err().expect("no name");
        assert!(error.to_string().starts_with("line 2"), "{error}");
    }
}
