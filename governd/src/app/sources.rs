//! Policy files, and how their change is noticed: by looking once a second at names, sizes and
//! times, which also sees symbolic links that a ConfigMap update swaps.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::bundle;
use crate::{
    policy::limits::{SOURCE_BYTES_MAX, SOURCES_BYTES_MAX},
    settings::PolicySource,
};

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
    /// The files together are longer than any policy should be; this is the first that is too much.
    #[error(
        "with {} the policy has more than {SOURCES_BYTES_MAX} bytes, as much as all files \
         together may have",
        .0.display()
    )]
    TooLong(PathBuf),
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
            Self::TooLong(_) | Self::TooMany(_) => {
                "name the policy's own directory, and put agents that do not run here into the \
                 policy of other hosts"
            }
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

    /// All documents: path and content, as [`read_all`] has it.
    ///
    /// # Errors
    /// A file or directory is missing, unreadable or empty, or there is too much.
    pub fn read(&self) -> Result<Vec<(String, Vec<u8>)>, SourceError> {
        let Self::Path(path) = self else {
            return Ok(vec![("built-in".into(), BUILT_IN.into())]);
        };
        let files = files(path)?;
        if files.is_empty() {
            return Err(SourceError::Empty(path.clone()));
        }
        read_all(&files)
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

/// Path and content of files. What a file has above [`SOURCE_BYTES_MAX`] is left unread but for a
/// byte, by which whoever reads the documents sees that it is too long.
///
/// # Errors
/// A file cannot be read, or all together have more than [`SOURCES_BYTES_MAX`].
pub fn read_all(files: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>, SourceError> {
    let mut all = Vec::with_capacity(files.len());
    let mut left = SOURCES_BYTES_MAX;
    for path in files {
        let bytes =
            read(path).map_err(|source| SourceError::Read { path: path.to_path_buf(), source })?;
        left = left
            .checked_sub(bytes.len())
            .ok_or_else(|| SourceError::TooLong(path.to_path_buf()))?;
        all.push((path.display().to_string(), bytes));
    }
    Ok(all)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SOURCE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy;

    #[test]
    fn a_directory_gives_its_yaml_files_in_order_and_nothing_hidden() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", ".hidden.yaml", "notes.txt"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let source = PolicySource::Path(dir.path().to_path_buf());
        let texts: Vec<_> = source.read().unwrap().into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, [b"a.yml".as_slice(), b"b.yaml"]);
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
    fn files_are_read_as_bytes_and_a_long_one_only_as_far_as_to_see_that_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), b"# caf\xe9\n").unwrap();
        let long = File::create(dir.path().join("b.yaml")).unwrap();
        long.set_len(5 * SOURCE_BYTES_MAX as u64).unwrap();
        let sources = PolicySource::Path(dir.path().to_path_buf()).read().unwrap();
        let lengths: Vec<usize> = sources.iter().map(|(_, bytes)| bytes.len()).collect();
        assert_eq!(lengths, [7, SOURCE_BYTES_MAX + 1]);
        let found = policy::load(&sources).unwrap_err().to_string();
        assert!(found.contains("a.yaml:1:6: error[bad-character]"), "{found}");
        assert!(found.contains("b.yaml: error[too-large]"), "{found}");
        assert!(found.contains(&SOURCE_BYTES_MAX.to_string()), "{found}");
    }

    #[test]
    fn all_files_together_have_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let source = PolicySource::Path(dir.path().to_path_buf());
        for number in 0..=SOURCES_BYTES_MAX / SOURCE_BYTES_MAX {
            let file = File::create(dir.path().join(format!("{number:03}.yaml"))).unwrap();
            file.set_len(SOURCE_BYTES_MAX as u64).unwrap();
        }
        let error = source.read().unwrap_err();
        let last = dir.path().join("064.yaml");
        assert!(matches!(&error, SourceError::TooLong(path) if *path == last), "{error}");
        fs::remove_file(last).unwrap();
        assert_eq!(source.read().unwrap().len(), 64);
    }
}
