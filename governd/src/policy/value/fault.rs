use crate::policy::diagnostic::{Code, Diagnostic, Place};

/// What is wrong with a value, before anybody knows where it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// What kind.
    pub code: Code,
    /// What.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Fault {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// As an error at a place.
    pub(crate) fn at(self, place: &Place) -> Diagnostic {
        let Self { code, message, hint } = self;
        let diagnostic = Diagnostic::error(code, place, message);
        match hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    }
}
