//! Who is let in: tokens, and the certificates that they and older certificates are exchanged for.

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{Host, Store, StoreError, integer};
use crate::{
    audit::{keys::Keys, tree::sha256},
    sink::authority::AuthorityError,
};

/// Why a host is not let in.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The token is not known, used or expired.
    #[error("the token is not valid, was used already, or has expired")]
    Token,
    /// The host has a log with another key.
    #[error("host {0} is enrolled with the key of another log")]
    OtherLog(String),
    /// The log belongs to a host of another name.
    #[error("the log of this key is enrolled as host {0}")]
    OtherHost(String),
    /// The certificate cannot be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Keeps a token for a host until it is used or has expired. Only its hash is kept.
    ///
    /// # Errors
    /// If the store fails.
    pub fn add_token(&self, secret: &str, host: &str, expires_s: u64) -> Result<(), StoreError> {
        let hash = sha256(&[secret.as_bytes()]);
        let expires = integer(expires_s);
        self.connection.execute(
            "INSERT INTO token (secret, host, expires_s) VALUES (?1, ?2, ?3)",
            params![hash, host, expires],
        )?;
        Ok(())
    }

    /// Exchanges a token for what `issue` makes for its host: a certificate and its fingerprint.
    ///
    /// # Errors
    /// If the token is not valid, or the host or the log belongs to another one.
    pub fn enroll<T>(
        &mut self,
        secret: &str,
        keys: &Keys,
        now_s: u64,
        issue: impl FnOnce(&str) -> Result<(T, [u8; 32]), AuthorityError>,
    ) -> Result<T, EnrollError> {
        let change = self.connection.transaction().map_err(StoreError::from)?;
        let hash = sha256(&[secret.as_bytes()]);
        let name = change
            .query_row(
                "DELETE FROM token WHERE secret = ?1 AND expires_s > ?2 RETURNING host",
                params![hash, integer(now_s)],
                |row| row.get::<_, String>(0),
            )
            .optional()
            .map_err(StoreError::from)?
            .ok_or(EnrollError::Token)?;
        let id = admit(&change, &name, keys, now_s)?;
        let (made, fingerprint) = issue(&name)?;
        add_certificate(&change, &fingerprint, id, now_s).map_err(StoreError::from)?;
        change.commit().map_err(StoreError::from)?;
        Ok(made)
    }

    /// Gives a host a further certificate, which `issue` makes. Those it had stay valid until they
    /// expire.
    ///
    /// # Errors
    /// If it cannot be made, or the store fails.
    pub fn renew<T>(
        &mut self,
        host: &Host,
        now_s: u64,
        issue: impl FnOnce(&str) -> Result<(T, [u8; 32]), AuthorityError>,
    ) -> Result<T, EnrollError> {
        let change = self.connection.transaction().map_err(StoreError::from)?;
        let (made, fingerprint) = issue(&host.name)?;
        add_certificate(&change, &fingerprint, host.id, now_s).map_err(StoreError::from)?;
        change.commit().map_err(StoreError::from)?;
        Ok(made)
    }

    /// The host that a certificate was made for, and when it was, in seconds since 1970.
    ///
    /// # Errors
    /// If the store fails, or is damaged.
    pub fn host_of(&self, fingerprint: &[u8; 32]) -> Result<Option<(Host, u64)>, StoreError> {
        let issued = self
            .connection
            .prepare_cached("SELECT host, issued_s FROM certificate WHERE fingerprint = ?1")?
            .query_row([fingerprint], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        let Some((id, issued)) = issued else {
            return Ok(None);
        };
        let host = self.select("WHERE id = ?1", [id])?.pop();
        Ok(host.map(|host| (host, issued.unsigned_abs())))
    }
}

fn add_certificate(
    change: &Transaction<'_>,
    fingerprint: &[u8; 32],
    host: i64,
    now_s: u64,
) -> rusqlite::Result<usize> {
    change.execute(
        "INSERT INTO certificate (fingerprint, host, issued_s) VALUES (?1, ?2, ?3)",
        params![fingerprint, host, integer(now_s)],
    )
}

fn admit(
    change: &Transaction<'_>,
    name: &str,
    keys: &Keys,
    now_s: u64,
) -> Result<i64, EnrollError> {
    let (key, rotations) = (keys.current().to_string(), keys.to_string());
    let other = change
        .query_row("SELECT name FROM host WHERE log_key = ?1 AND name != ?2", [&key, name], |row| {
            row.get::<_, String>(0)
        })
        .optional()
        .map_err(StoreError::from)?;
    if let Some(other) = other {
        return Err(EnrollError::OtherHost(other));
    }
    let known = change
        .query_row("SELECT id, log_key FROM host WHERE name = ?1", [name], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })
        .optional()
        .map_err(StoreError::from)?;
    match known {
        // A key that was replaced since the last batch becomes known with the record that says so.
        Some((id, known)) if keys.each().any(|(_, key)| key.to_string() == known) => Ok(id),
        Some(_) => Err(EnrollError::OtherLog(name.to_owned())),
        None => {
            change
                .execute(
                    "INSERT INTO host (name, log_key, rotations, seen_s) VALUES (?1, ?2, ?3, ?4)",
                    params![name, key, rotations, integer(now_s)],
                )
                .map_err(StoreError::from)?;
            Ok(change.last_insert_rowid())
        }
    }
}
