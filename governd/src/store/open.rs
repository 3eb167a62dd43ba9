//! Opening the file: made if it is not there, brought to the present version, set aside if damaged.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{
    Damage, Opened, StoreError,
    limits::{BUSY_TIMEOUT_MS, JOURNAL_BYTES_MAX, PAGE_BYTES, PAGES_MAX},
    load,
    schema::{APPLICATION_ID, LATER, STEPS},
};

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

pub(super) fn open(path: &Path, boot_id: &str) -> Result<(Connection, Opened), StoreError> {
    prepare(path).map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
    let reason = match attempt(path, boot_id) {
        Ok(opened) => return Ok(opened),
        Err(Fault::Damaged(reason)) => reason,
        Err(Fault::Unusable(error)) => return Err(error),
    };
    let aside = set_aside(path).map_err(|source| StoreError::Io { path: path.into(), source })?;
    prepare(path).map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
    match attempt(path, boot_id) {
        Ok((connection, opened)) => {
            let damage = Some(Damage { path: aside, reason });
            Ok((connection, Opened { damage, ..opened }))
        }
        Err(Fault::Damaged(reason)) => {
            let source = io::Error::new(io::ErrorKind::InvalidData, reason);
            Err(StoreError::Io { path: path.to_owned(), source })
        }
        Err(Fault::Unusable(error)) => Err(error),
    }
}

enum Fault {
    /// What is in the file is not what was written.
    Damaged(String),
    Unusable(StoreError),
}

/// The file belongs to its owner alone from its first byte on: it says what runs here.
fn prepare(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    }
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path).map(drop)
}

fn attempt(path: &Path, boot_id: &str) -> Result<(Connection, Opened), Fault> {
    let fault = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Fault::Damaged(source.to_string())
        }
        _ => Fault::Unusable(StoreError::Sqlite { path: path.to_owned(), source }),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(path, flags).map_err(fault)?;
    configure(&connection).map_err(fault)?;
    let version = version(&connection, path, fault)?;
    check(&connection, fault)?;
    migrate(&mut connection, version).map_err(fault)?;
    let (agents, discarded) = load::agents(&mut connection, boot_id).map_err(fault)?;
    Ok((connection, Opened { agents, discarded, damage: None }))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // What is erased is not left in pages that nothing uses.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES_MAX)?;
    connection.pragma_update(None, "max_page_count", PAGES_MAX)
}

/// The steps that the file went through; 0 for one that is empty.
fn version(
    connection: &Connection,
    path: &Path,
    fault: impl Fn(rusqlite::Error) -> Fault,
) -> Result<usize, Fault> {
    let number = |name: &str| -> Result<i32, Fault> {
        connection.pragma_query_value(None, name, |row| row.get(0)).map_err(&fault)
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(&fault)?;
    let known = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
    let found = u32::try_from(version).unwrap_or(u32::MAX);
    if application == 0 && version == 0 && tables == 0 {
        Ok(0)
    } else if application != APPLICATION_ID {
        Err(Fault::Unusable(StoreError::Foreign(path.to_owned())))
    } else if found > known {
        Err(Fault::Unusable(StoreError::Newer { path: path.to_owned(), found, known }))
    } else {
        Ok(found as usize)
    }
}

fn check(connection: &Connection, fault: impl Fn(rusqlite::Error) -> Fault) -> Result<(), Fault> {
    let said: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(fault)?;
    if said == "ok" { Ok(()) } else { Err(Fault::Damaged(said)) }
}

fn migrate(connection: &mut Connection, version: usize) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for step in STEPS.iter().skip(version) {
        transaction.execute_batch(step)?;
    }
    for (table, column, kind) in LATER {
        let is_there = "SELECT count(*) FROM pragma_table_info(?1) WHERE name = ?2";
        let count: i64 = transaction.query_row(is_there, [table, column], |row| row.get(0))?;
        if count == 0 {
            transaction
                .execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} {kind}"))?;
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", STEPS.len() as u32)?;
    transaction.commit()
}

/// Moves a damaged file away, with what belongs to it, over one that was moved away before.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let with = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let aside = with(".damaged");
    fs::rename(path, &aside)?;
    for end in ["-wal", "-shm"] {
        match fs::remove_file(with(end)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}
