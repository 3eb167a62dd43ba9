//! Writes objects whose keys are known when the program is built: field by field into the text, so
//! that nothing is kept, sorted or copied. Keys are given in their order; tests of what is written
//! this way run with the assertion that they are.

use std::{
    borrow::Cow,
    fmt::{self, Display, Write as _},
    net::IpAddr,
};

use super::{INTEGER_MAX, write_escaped, write_text};

/// What is a string, a number or a literal in JSON.
pub trait Plain {
    /// Appends its canonical form.
    fn write(&self, out: &mut String);
}

/// The words of something, as a string.
pub struct Shown<T>(pub T);

impl Plain for &str {
    fn write(&self, out: &mut String) {
        write_text(out, self);
    }
}

impl Plain for Cow<'_, str> {
    fn write(&self, out: &mut String) {
        write_text(out, self);
    }
}

impl Plain for bool {
    fn write(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }
}

/// Beyond what a double holds exactly it is written as its digits in a string, as
/// [`super::integer`] has it.
impl Plain for u64 {
    fn write(&self, out: &mut String) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(*self);
        if *self <= INTEGER_MAX {
            return out.push_str(digits);
        }
        out.push('"');
        out.push_str(digits);
        out.push('"');
    }
}

impl Plain for u32 {
    fn write(&self, out: &mut String) {
        u64::from(*self).write(out);
    }
}

impl Plain for u16 {
    fn write(&self, out: &mut String) {
        u64::from(*self).write(out);
    }
}

impl Plain for u8 {
    fn write(&self, out: &mut String) {
        u64::from(*self).write(out);
    }
}

impl Plain for IpAddr {
    fn write(&self, out: &mut String) {
        out.push('"');
        write_address(out, *self);
        out.push('"');
    }
}

/// Nothing in an address is escaped.
fn write_address(out: &mut String, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (position, number) in v4.octets().into_iter().enumerate() {
                if position > 0 {
                    out.push('.');
                }
                out.push_str(itoa::Buffer::new().format(number));
            }
        }
        // Writing to a String does not fail.
        IpAddr::V6(v6) => write!(out, "{v6}").unwrap_or_default(),
    }
}

impl<T: Display> Plain for Shown<T> {
    fn write(&self, out: &mut String) {
        out.push('"');
        // A `Display` that fails has said all that it had to.
        write!(Escaped(out), "{}", self.0).unwrap_or_default();
        out.push('"');
    }
}

/// Escapes what is written to it.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_escaped(self.0, text);
        Ok(())
    }
}

/// A string that is being written piece by piece.
pub struct Text<'a>(&'a mut String);

impl Text<'_> {
    /// Adds some text.
    pub fn add(&mut self, text: &str) -> &mut Self {
        write_escaped(self.0, text);
        self
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.push_str(itoa::Buffer::new().format(number));
        self
    }

    /// Adds an address.
    pub fn address(&mut self, address: IpAddr) -> &mut Self {
        write_address(self.0, address);
        self
    }

    /// Adds what is in canonical form already.
    pub fn written(&mut self, escaped: &str) -> &mut Self {
        self.0.push_str(escaped);
        self
    }
}

/// What a function writes of a string, in canonical form, without the quotes.
pub fn text(write: impl FnOnce(&mut Text<'_>)) -> String {
    let mut out = String::new();
    write(&mut Text(&mut out));
    out
}

/// An object that is being written.
pub struct Object<'a> {
    out: &'a mut String,
    /// The first key and the last one; empty at the beginning.
    first: &'static str,
    last: &'static str,
}

/// Appends an object.
pub fn object(out: &mut String, fields: impl FnOnce(&mut Object<'_>)) {
    out.push('{');
    fields(&mut Object { out, first: "", last: "" });
    out.push('}');
}

/// Fields of an object in canonical form, for all objects that have them.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    text: String,
    first: &'static str,
    last: &'static str,
}

impl Fields {
    /// Those that a function writes.
    pub fn of(write: impl FnOnce(&mut Object<'_>)) -> Self {
        let mut text = String::new();
        let mut object = Object { out: &mut text, first: "", last: "" };
        write(&mut object);
        let Object { first, last, .. } = object;
        Self { text, first, last }
    }
}

/// Appends an array, each item by a function that writes it.
pub fn array<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut String, T),
) {
    out.push('[');
    for (position, item) in items.into_iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

impl Object<'_> {
    fn key(&mut self, key: &'static str) {
        self.follow(key, key);
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
    }

    /// Makes place for fields from a key to a key.
    fn follow(&mut self, first: &'static str, last: &'static str) {
        debug_assert!(self.last < first, "{first} stands behind {}", self.last);
        if self.last.is_empty() {
            self.first = first;
        } else {
            self.out.push(',');
        }
        self.last = last;
    }

    /// Adds a field.
    pub fn with(&mut self, key: &'static str, value: impl Plain) -> &mut Self {
        self.key(key);
        value.write(self.out);
        self
    }

    /// Adds a field if it is known.
    pub fn maybe(&mut self, key: &'static str, value: Option<impl Plain>) -> &mut Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Adds a field that is in canonical form already.
    pub fn written(&mut self, key: &'static str, json: &str) -> &mut Self {
        self.key(key);
        self.out.push_str(json);
        self
    }

    /// Adds fields that are in canonical form, or writes them.
    pub fn fields(
        &mut self,
        known: Option<&Fields>,
        write: impl FnOnce(&mut Object<'_>),
    ) -> &mut Self {
        match known {
            Some(Fields { text, first, last }) if !last.is_empty() => {
                self.follow(first, last);
                self.out.push_str(text);
            }
            Some(_) => {}
            None => write(self),
        }
        self
    }

    /// Adds a string that a function writes.
    pub fn text(&mut self, key: &'static str, write: impl FnOnce(&mut Text<'_>)) -> &mut Self {
        self.key(key);
        self.out.push('"');
        write(&mut Text(self.out));
        self.out.push('"');
        self
    }

    /// Adds an object.
    pub fn object(&mut self, key: &'static str, fields: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        self.key(key);
        object(self.out, fields);
        self
    }

    /// Adds an object about something, if that is known.
    pub fn maybe_object<T>(
        &mut self,
        key: &'static str,
        about: Option<T>,
        fields: impl FnOnce(&mut Object<'_>, T),
    ) -> &mut Self {
        match about {
            Some(about) => self.object(key, |o| fields(o, about)),
            None => self,
        }
    }

    /// Adds an array, each item by a function that writes it.
    pub fn array<T>(
        &mut self,
        key: &'static str,
        items: impl IntoIterator<Item = T>,
        write: impl Fn(&mut String, T),
    ) -> &mut Self {
        self.key(key);
        array(self.out, items, write);
        self
    }

    /// Adds an array of strings, numbers or literals.
    pub fn list<T: Plain>(
        &mut self,
        key: &'static str,
        items: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        self.array(key, items, |out, item| item.write(out))
    }

    /// Adds an array of objects.
    pub fn objects<T>(
        &mut self,
        key: &'static str,
        items: impl IntoIterator<Item = T>,
        fields: impl Fn(&mut Object<'_>, T),
    ) -> &mut Self {
        self.array(key, items, |out, item| object(out, |o| fields(o, item)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{super::to_string, *};

    fn written(value: &impl Plain) -> String {
        let mut out = String::new();
        value.write(&mut out);
        out
    }

    #[test]
    #[should_panic(expected = "a stands behind b")]
    fn keys_out_of_order_are_found_by_tests() {
        object(&mut String::new(), |o| {
            o.with("b", 1_u8).with("a", 2_u8);
        });
    }

    #[test]
    fn an_object_has_its_parts() {
        let mut out = String::new();
        object(&mut out, |o| {
            o.list("list", ["a", "b"])
                .maybe("none", None::<&str>)
                .objects("objects", [1_u8, 2], |o, n| {
                    o.with("n", n);
                })
                .object("part", |_| ())
                .written("raw", "[[]]");
        });
        let value = json!({
            "list": ["a", "b"], "objects": [{"n": 1}, {"n": 2}], "part": {}, "raw": [[]]
        });
        assert_eq!(out, to_string(&value));
    }

    proptest! {
        #[test]
        fn values_are_written_as_the_canonical_writer_does(
            text in any::<String>(),
            number in any::<u64>(),
            small in any::<u32>(),
            address in any::<IpAddr>(),
            is in any::<bool>(),
        ) {
            prop_assert_eq!(written(&text.as_str()), to_string(&json!(text)));
            prop_assert_eq!(written(&Shown(&text)), to_string(&json!(text)));
            prop_assert_eq!(written(&number), to_string(&super::super::integer(number)));
            prop_assert_eq!(written(&small), to_string(&Value::from(small)));
            prop_assert_eq!(written(&address), to_string(&json!(address.to_string())));
            prop_assert_eq!(written(&is), to_string(&json!(is)));
        }
    }
}
