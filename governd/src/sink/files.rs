//! Small private files: certificates, keys and receipts.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// What others than the owner may do.
const OTHERS: u32 = 0o077;
const NEW_SUFFIX: &str = "new";

/// Makes a directory that is its owner's alone.
///
/// # Errors
/// If it cannot be made.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Makes a file its owner's alone, and makes it if it is not there. One that is there is not
/// opened: who closes a file gives up all locks that this process has on it (fcntl(2)), and those
/// of SQLite's connections are among them.
///
/// # Errors
/// If it cannot be made, or is not this user's.
pub fn keep_private(path: &Path) -> io::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.map(drop),
    }
    if fs::metadata(path)?.permissions().mode() & OTHERS == 0 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(FILE_MODE))
}

/// Puts a file into place, whole or not at all, readable by its owner alone; durable on return.
///
/// # Errors
/// If it cannot be written: what was there before is still there.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_added_extension(NEW_SUFFIX);
    // One that an earlier attempt left may be anybody's.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
