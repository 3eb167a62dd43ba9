//! The only place of xtask that prints: what it does goes to stderr, what was asked for to stdout.

use std::fmt::Display;

/// Says what is being done.
pub(crate) fn note(message: impl Display) {
    eprintln!("xtask: {message}");
}

/// Says what is wrong without being fatal.
pub(crate) fn warn(message: impl Display) {
    eprintln!("xtask: warning: {message}");
}

/// Says why the verb failed.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("xtask: error: {error:#}");
}

/// Prints a line of what was asked for.
pub(crate) fn line(text: impl Display) {
    println!("{text}");
}
