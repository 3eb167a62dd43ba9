//! Groups of endpoints, as rules and other groups name them.

use std::{fmt, sync::Arc};

use super::{Fault, Target, name::check_document_name};
use crate::policy::diagnostic::Code;

const NAMED: &str = "group:";
const CATALOGUE: &str = "catalog:";

/// A group of endpoints.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub enum GroupRef {
    /// An `EndpointGroup` document, by its name.
    Named(Arc<str>),
    /// What the catalogue knows of a provider, or one kind of it.
    Catalogue {
        /// The provider.
        provider: Arc<str>,
        /// The kind, such as `model-api`; every kind, if absent.
        kind: Option<Arc<str>>,
    },
}

impl GroupRef {
    /// Reads `group:NAME`, `catalog:PROVIDER` or `catalog:PROVIDER/KIND`; `None` if the text is
    /// none of these.
    fn parse(text: &str) -> Option<Result<Self, Fault>> {
        if let Some(name) = text.strip_prefix(NAMED) {
            return Some(check_document_name(name).map(|()| Self::Named(name.into())));
        }
        let name = text.strip_prefix(CATALOGUE)?;
        let (provider, kind) = match name.split_once('/') {
            Some((provider, kind)) => (provider, Some(kind)),
            None => (name, None),
        };
        if provider.is_empty() || kind == Some("") {
            let message = format!("`{text}` names no part of the catalogue");
            let hint = "write catalog:PROVIDER or catalog:PROVIDER/KIND, such as \
                        catalog:openai/model-api; `governd catalog list` shows them";
            return Some(Err(Fault::new(Code::UnknownGroup, message).hint(hint)));
        }
        let kind = kind.map(Into::into);
        Some(Ok(Self::Catalogue { provider: provider.into(), kind }))
    }
}

impl fmt::Display for GroupRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(f, "{NAMED}{name}"),
            Self::Catalogue { provider, kind: None } => write!(f, "{CATALOGUE}{provider}"),
            Self::Catalogue { provider, kind: Some(kind) } => {
                write!(f, "{CATALOGUE}{provider}/{kind}")
            }
        }
    }
}

/// What a list of destinations may have in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item {
    /// A name, wildcard, address or network.
    Target(Target),
    /// A group of them.
    Group(GroupRef),
}

impl Item {
    /// Parses a target or the name of a group.
    ///
    /// # Errors
    /// What is wrong with it, and what was perhaps meant.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        match GroupRef::parse(text) {
            Some(group) => group.map(Self::Group),
            None => Target::parse(text).map(Self::Target),
        }
    }
}
