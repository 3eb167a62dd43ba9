//! Why the file cannot be used.

use std::{io, path::PathBuf};

/// The inventory's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot use the inventory {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot use the inventory {}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer governd wrote it.
    #[error(
        "the inventory {} has version {found}, of a newer governd; this one knows {known}",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that is known here.
        known: u32,
    },
    /// Something else made it.
    #[error("{} is a database, but not governd's inventory", .0.display())]
    Foreign(PathBuf),
}

impl StoreError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } | Self::Sqlite { .. } => {
                "check the directory's permissions and space, or name another with --state-dir"
            }
            Self::Newer { .. } => "run the newer governd, or move the file away",
            Self::Foreign(_) => "move the file away, or name another directory with --state-dir",
        }
    }

    /// Message and cause in one line.
    pub fn line(&self) -> String {
        let cause = std::error::Error::source(self).map(|cause| format!(": {cause}"));
        format!("{self}{}", cause.unwrap_or_default())
    }
}
