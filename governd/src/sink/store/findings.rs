//! What is wrong with hosts: kept once while it lasts, and counted.

use rusqlite::params;

use super::{Host, Store, StoreError, integer};

/// The word for a host that is not heard of.
pub const SILENT: &str = "silent";

/// Something that is wrong with a host or its log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The host's name.
    pub host: String,
    /// When it was seen first, in seconds since 1970.
    pub time_s: u64,
    /// The word for it.
    pub what: String,
    /// What it is.
    pub detail: String,
    /// How often it was seen.
    pub count: u64,
}

impl Store {
    /// Keeps that something is wrong; whether it is new.
    ///
    /// # Errors
    /// If the store fails.
    pub fn find(
        &self,
        host: &Host,
        what: &str,
        detail: &str,
        now_s: u64,
    ) -> Result<bool, StoreError> {
        let mut query = self.connection.prepare_cached(
            "INSERT INTO finding (host, time_s, what, detail, count) VALUES (?1, ?2, ?3, ?4, 1) \
             ON CONFLICT (host, what) WHERE ended_s IS NULL DO UPDATE SET count = count + 1 \
             RETURNING count",
        )?;
        let values = params![host.id, integer(now_s), what, detail];
        Ok(query.query_row(values, |row| row.get::<_, i64>(0))? == 1)
    }

    /// Something is over; whether there was something.
    ///
    /// # Errors
    /// If the store fails.
    pub fn end(&self, host: &Host, what: &str, now_s: u64) -> Result<bool, StoreError> {
        let ended = self
            .connection
            .prepare_cached(
                "UPDATE finding SET ended_s = ?3 \
                 WHERE host = ?1 AND what = ?2 AND ended_s IS NULL",
            )?
            .execute(params![host.id, what, integer(now_s)])?;
        Ok(ended > 0)
    }

    /// What is wrong and not over, the latest last.
    ///
    /// # Errors
    /// If the store fails.
    pub fn findings(&self) -> Result<Vec<Found>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT name, time_s, what, detail, count FROM finding JOIN host ON host.id = host \
             WHERE ended_s IS NULL ORDER BY finding.id",
        )?;
        let rows = query.query_map([], |row| {
            Ok(Found {
                host: row.get(0)?,
                time_s: row.get::<_, i64>(1)?.unsigned_abs(),
                what: row.get(2)?,
                detail: row.get(3)?,
                count: row.get::<_, i64>(4)?.unsigned_abs(),
            })
        })?;
        rows.map(|row| row.map_err(StoreError::from)).collect()
    }
}
