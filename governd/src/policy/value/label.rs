//! Labels and environments of hosts.

use std::{fmt, sync::Arc};

use super::fault::Fault;
use crate::policy::{diagnostic::Code, limits::LABEL_TEXT_BYTES_MAX};

macro_rules! texts {
    ($($(#[$meta:meta])* $name:ident: $noun:literal, $further:expr;)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Letters, digits and a few signs between them.
            ///
            /// # Errors
            /// It is empty, too long, or has other characters.
            pub fn parse(text: &str) -> Result<Self, Fault> {
                check(text, $noun, $further).map(|()| Self(text.into()))
            }

            /// As written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

texts! {
    /// What a label is called, such as `tier` or `acme.example/team`.
    LabelKey: "name of a label", b"-_./";
    /// What a label says.
    LabelValue: "value of a label", b"-_.";
    /// Where a host belongs, such as `production`.
    Environment: "environment", b"-_.";
}

fn check(text: &str, noun: &str, signs: &[u8]) -> Result<(), Fault> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || signs.contains(&byte);
    let at_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let (first, last) = (text.bytes().next(), text.bytes().next_back());
    let fits = text.len() <= LABEL_TEXT_BYTES_MAX && text.bytes().all(is_fine);
    if fits && at_end(first) && at_end(last) {
        return Ok(());
    }
    let message = format!("`{text}` is no {noun}");
    let hint = format!(
        "it has letters, digits and `{}` between them, at most {LABEL_TEXT_BYTES_MAX} in all",
        String::from_utf8_lossy(signs)
    );
    Err(Fault::new(Code::BadLabel, message).hint(hint))
}
