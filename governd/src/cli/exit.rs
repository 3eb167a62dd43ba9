//! Exit codes, and the failure that carries one.

use std::{fmt, process::ExitCode};

/// What the exit status of `governd` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or the answer is yes.
    Yes = 0,
    /// The answer is no.
    No = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// Configuration or policy is invalid.
    Invalid = 3,
    /// The host lacks something: rights, a file system, a kernel feature, a running daemon.
    Environment = 4,
    /// A bug in governd.
    Internal = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb did not succeed: what happened and where, and what to do.
#[derive(Debug)]
pub struct Failure {
    /// Exit status.
    pub exit: Exit,
    /// What happened, with its causes.
    pub error: anyhow::Error,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with a hint.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>, hint: impl Into<String>) -> Self {
        Self { exit, error: error.into(), hint: Some(hint.into()) }
    }

    /// A failure whose message already says what to do, or about which nothing can be done.
    pub fn plain(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into(), hint: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {:#}", self.error)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
