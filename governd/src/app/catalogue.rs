//! The catalogue with an administrator's additions, read again when they change.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{rulebook::Known, sources::Fingerprint};
use crate::{
    catalog::{Catalog, EndpointPattern, ParseError, Source},
    policy::compile::Endpoint,
    workload::additions::{self, AdditionsError},
};

/// Why there is no (new) catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The additions cannot be read.
    #[error(transparent)]
    Unreadable(#[from] AdditionsError),
    /// Lines of them are invalid.
    #[error("{}", lines(.0))]
    Invalid(Vec<ParseError>),
}

impl CatalogueError {
    /// The reasons, one line each.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Unreadable(error) => {
                let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
                vec![format!("{error}{}", cause.unwrap_or_default())]
            }
            Self::Invalid(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "check its permissions, or name another directory",
            Self::Invalid(_) => "correct these lines; nothing was loaded",
        }
    }
}

fn lines(errors: &[ParseError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// The catalogue in use, and where its additions are.
#[derive(Debug)]
pub struct Catalogue {
    directory: PathBuf,
    seen: Fingerprint,
    current: Arc<Catalog>,
    rejected: Option<String>,
}

impl Catalogue {
    /// Reads the additions for the first time.
    ///
    /// # Errors
    /// They cannot be read, or have invalid lines.
    pub fn open(directory: &Path) -> Result<Self, CatalogueError> {
        let seen = fingerprint(directory);
        let current = Arc::new(load(directory)?);
        Ok(Self { directory: directory.to_owned(), seen, current, rejected: None })
    }

    /// Where the additions are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Why the newest additions are not in use, if they are not.
    pub fn rejected(&self) -> Option<&str> {
        self.rejected.as_deref()
    }

    /// The catalogue in use.
    pub fn current(&self) -> &Arc<Catalog> {
        &self.current
    }

    /// Reads the additions again if they changed; true if another catalogue is in use.
    ///
    /// # Errors
    /// They cannot be read, or have invalid lines: the catalogue in use stays. The same fault is
    /// reported once.
    pub fn refresh(&mut self) -> Result<bool, CatalogueError> {
        let present = fingerprint(&self.directory);
        if present == self.seen {
            return Ok(false);
        }
        self.seen = present;
        match load(&self.directory) {
            Ok(catalog) => {
                self.rejected = None;
                self.current = Arc::new(catalog);
                Ok(true)
            }
            Err(error) => {
                self.rejected = Some(error.lines().join("; "));
                Err(error)
            }
        }
    }
}

/// The built-in catalogue with the additions of a directory.
///
/// # Errors
/// They cannot be read, or have invalid lines.
pub fn load(directory: &Path) -> Result<Catalog, CatalogueError> {
    let files = additions::read(directory)?;
    let sources: Vec<Source<'_>> = files.iter().map(|(path, text)| Source { path, text }).collect();
    Catalog::with_additions(&sources).map_err(CatalogueError::Invalid)
}

/// What the catalogue tells a policy.
pub fn known(catalog: &Catalog) -> Known {
    let endpoint = |one: EndpointPattern| Endpoint {
        pattern: one.pattern,
        provider: one.provider,
        kind: one.kind.word(),
    };
    Known {
        endpoints: catalog.endpoint_patterns().into_iter().map(endpoint).collect(),
        model_ports: catalog.model_ports(),
    }
}

fn fingerprint(directory: &Path) -> Fingerprint {
    Fingerprint::of(additions::files(directory).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ADDED: &str = "\
domain,match,provider,kind,use,source
llm.acme.example,exact,acme,model-api,dedicated,written by hand
";

    #[test]
    fn additions_are_read_again_when_they_change_and_a_broken_one_leaves_the_catalogue() {
        let dir = tempfile::tempdir().unwrap();
        let mut catalogue = Catalogue::open(dir.path()).unwrap();
        assert!(catalogue.current().lookup_host("llm.acme.example").is_none());
        assert!(!catalogue.refresh().unwrap());

        let file = dir.path().join("acme.csv");
        fs::write(&file, ADDED).unwrap();
        assert!(catalogue.refresh().unwrap());
        let found = catalogue.current().lookup_host("llm.acme.example").unwrap();
        assert_eq!(&*found.provider, "acme");

        fs::write(&file, ADDED.replace("exact", "exactly")).unwrap();
        let error = catalogue.refresh().unwrap_err();
        let place = format!("{}:2", file.display());
        assert!(error.lines().iter().any(|line| line.starts_with(&place)), "{error}");
        assert!(catalogue.current().lookup_host("llm.acme.example").is_some());
        // The same fault is not reported once a second.
        assert!(!catalogue.refresh().unwrap());
        assert!(catalogue.rejected().unwrap().starts_with(&place));

        fs::remove_file(&file).unwrap();
        assert!(catalogue.refresh().unwrap());
        assert_eq!(catalogue.rejected(), None);
        assert!(catalogue.current().lookup_host("llm.acme.example").is_none());
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("catalog.d");
        fs::write(&file, "").unwrap();
        let error = Catalogue::open(&file).unwrap_err();
        assert!(error.lines()[0].contains(&file.display().to_string()), "{error}");
    }
}
