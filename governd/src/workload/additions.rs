//! Files that an administrator adds to the catalogue.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{limits::CATALOG_FILE_BYTES_MAX, read};

/// A directory or file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the catalogue's additions in {path} cannot be read")]
pub struct AdditionsError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Paths of the `.csv` files of a directory, in the order of their names. A directory that does not
/// exist has none.
///
/// # Errors
/// The directory cannot be read.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>, AdditionsError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(dir)(error)),
    };
    let paths: Result<Vec<PathBuf>, io::Error> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(at(dir))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    paths.sort_unstable();
    Ok(paths)
}

/// Paths and texts of these files.
///
/// # Errors
/// The directory or one of its files cannot be read, or a file is too large.
pub fn read(dir: &Path) -> Result<Vec<(String, String)>, AdditionsError> {
    let text = |path: PathBuf| {
        let text = read::text(&path, CATALOG_FILE_BYTES_MAX + 1).map_err(at(&path))?;
        if text.len() > CATALOG_FILE_BYTES_MAX {
            let reason = format!("larger than {CATALOG_FILE_BYTES_MAX} bytes");
            return Err(at(&path)(io::Error::new(io::ErrorKind::FileTooLarge, reason)));
        }
        Ok((path.display().to_string(), text))
    };
    files(dir)?.into_iter().map(text).collect()
}

fn at(path: &Path) -> impl Fn(io::Error) -> AdditionsError + use<> {
    let path = path.to_owned();
    move |source| AdditionsError { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", "a.csv.bak", "c.txt"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let texts: Vec<String> =
            read(dir.path()).unwrap().into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["a.csv", "b.csv"]);
        assert!(read(&dir.path().join("none")).unwrap().is_empty());
        let error = read(&dir.path().join("a.csv")).unwrap_err();
        assert!(error.to_string().ends_with("a.csv cannot be read"), "{error}");
    }

    #[test]
    fn files_have_a_largest_size() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.csv"), vec![b'#'; CATALOG_FILE_BYTES_MAX + 1]).unwrap();
        assert!(read(dir.path()).is_err());
    }
}
