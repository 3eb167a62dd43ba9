//! Policy files, and how their change is noticed: by looking once a second at names, sizes and
//! times, which also sees symbolic links that a ConfigMap update swaps.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::bundle;
use crate::settings::PolicySource;

/// Longest policy file, in bytes; a longer one is an error before it is read.
const FILE_BYTES_MAX: u64 = 4 * 1_024 * 1_024;
/// Most policy files of one host.
const FILES_MAX: usize = 4_096;

/// The policy of a host that has none: everything is watched, nothing is stopped.
const BUILT_IN: &str = "\
apiVersion: governd.dev/v1
kind: HostPolicy
metadata: {name: built-in}
spec:
  mode: monitor
  unregistered: monitor
";

/// Policy files cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file or directory is missing or unreadable.
    #[error("cannot read the policy {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is longer than any policy should be.
    #[error("{} has {bytes} bytes; a policy file may have {FILE_BYTES_MAX}", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A directory has more files than any policy should have.
    #[error("{} has more than {FILES_MAX} policy files", .0.display())]
    TooMany(PathBuf),
    /// A directory has no policy file at all.
    #[error("{} has no .yaml or .yml file", .0.display())]
    Empty(PathBuf),
}

impl SourceError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => {
                "name a readable file or directory with --policy, or try `governd up`, which \
                 needs no policy"
            }
            Self::TooLong { .. } | Self::TooMany(_) => "split the policy, or name its directory",
            Self::Empty(_) => "put a HostPolicy document there; deploy/policies has one to copy",
        }
    }
}

/// What is looked at to notice a change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fingerprint(BTreeMap<PathBuf, (u64, u64, i64, i64)>);

impl Fingerprint {
    /// The present state of files. Those that cannot be read are left out, so that they count as a
    /// change when they can.
    pub fn of(files: Vec<PathBuf>) -> Self {
        let facts = files.into_iter().filter_map(|file| {
            let about = fs::metadata(&file).ok()?;
            Some((file, (about.ino(), about.size(), about.mtime(), about.mtime_nsec())))
        });
        Self(facts.collect())
    }
}

impl PolicySource {
    /// Where the policy comes from, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::BuiltIn => "built-in".into(),
        }
    }

    /// All documents: path and text.
    ///
    /// # Errors
    /// A file or directory is missing, unreadable, empty, too long, or not UTF-8.
    pub fn read(&self) -> Result<Vec<(String, String)>, SourceError> {
        let Self::Path(path) = self else {
            return Ok(vec![("built-in".into(), BUILT_IN.into())]);
        };
        let files = files(path)?;
        if files.is_empty() {
            return Err(SourceError::Empty(path.clone()));
        }
        files.iter().map(|file| read(file)).collect()
    }

    /// The present state of the files.
    pub fn fingerprint(&self) -> Fingerprint {
        let Self::Path(path) = self else { return Fingerprint::default() };
        let mut files = files(path).unwrap_or_default();
        files.push(bundle::signature_path(path));
        Fingerprint::of(files)
    }
}

/// The policy files that a path names, in order of name.
///
/// # Errors
/// The path is missing or unreadable, or names too many files.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let unreadable = |source| SourceError::Read { path: path.to_path_buf(), source };
    if fs::metadata(path).map_err(unreadable)?.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = file.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if yaml && !hidden && file.is_file() {
            files.push(file);
        }
        if files.len() > FILES_MAX {
            return Err(SourceError::TooMany(path.to_path_buf()));
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<(String, String), SourceError> {
    let unreadable = |source| SourceError::Read { path: file.to_path_buf(), source };
    let bytes = fs::metadata(file).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(SourceError::TooLong { path: file.to_path_buf(), bytes });
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    Ok((file.display().to_string(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gives_its_yaml_files_in_order_and_nothing_hidden() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", ".hidden.yaml", "notes.txt"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let source = PolicySource::Path(dir.path().to_path_buf());
        let texts: Vec<String> = source.read().unwrap().into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["a.yml", "b.yaml"]);
    }

    #[test]
    fn a_change_of_content_changes_the_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        let source = PolicySource::Path(dir.path().to_path_buf());
        fs::write(dir.path().join("a.yaml"), "1").unwrap();
        let before = source.fingerprint();
        assert_eq!(before, source.fingerprint());
        fs::write(dir.path().join("a.yaml"), "22").unwrap();
        assert_ne!(before, source.fingerprint());
    }

    #[test]
    fn an_empty_or_missing_directory_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let empty = PolicySource::Path(dir.path().to_path_buf()).read().unwrap_err();
        assert!(matches!(&empty, SourceError::Empty(path) if path == dir.path()), "{empty}");
        let missing = dir.path().join("missing");
        let error = PolicySource::Path(missing.clone()).read().unwrap_err();
        assert!(error.to_string().contains(&missing.display().to_string()), "{error}");
    }

    #[test]
    fn a_file_over_the_limit_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big.yaml");
        fs::File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        let error = PolicySource::Path(path).read().unwrap_err();
        assert!(matches!(error, SourceError::TooLong { .. }), "{error}");
    }
}
