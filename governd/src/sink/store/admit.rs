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

/// What is known of a host's certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// The row of the host that it was made for.
    pub host: i64,
    /// When, in seconds since 1970.
    pub issued_s: u64,
    /// The fingerprint of the authority that issued it, where that was to replace another one.
    pub authority: Option<[u8; 32]>,
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
        add_certificate(&change, &fingerprint, id, now_s, None).map_err(StoreError::from)?;
        change.commit().map_err(StoreError::from)?;
        Ok(made)
    }

    /// Gives a host a further certificate, which `issue` makes, by the authority that is to replace
    /// another one where it is named. Those it had stay valid until they expire.
    ///
    /// # Errors
    /// If it cannot be made, or the store fails.
    pub fn renew<T>(
        &mut self,
        host: &Host,
        now_s: u64,
        next: Option<&[u8; 32]>,
        issue: impl FnOnce(&str) -> Result<(T, [u8; 32]), AuthorityError>,
    ) -> Result<T, EnrollError> {
        let change = self.connection.transaction().map_err(StoreError::from)?;
        let (made, fingerprint) = issue(&host.name)?;
        add_certificate(&change, &fingerprint, host.id, now_s, next).map_err(StoreError::from)?;
        change.commit().map_err(StoreError::from)?;
        Ok(made)
    }

    /// The host that a certificate was made for, and what else is known of that.
    ///
    /// # Errors
    /// If the store fails, or is damaged.
    pub fn host_of(
        &self,
        fingerprint: &[u8; 32],
    ) -> Result<Option<(Host, Certificate)>, StoreError> {
        let text = "SELECT host, issued_s, authority FROM certificate WHERE fingerprint = ?1";
        let mut query = self.connection.prepare_cached(text)?;
        let found = query.query_row([fingerprint], |row| {
            let issued_s = row.get::<_, i64>(1)?.unsigned_abs();
            Ok(Certificate { host: row.get(0)?, issued_s, authority: row.get(2)? })
        });
        let Some(certificate) = found.optional()? else {
            return Ok(None);
        };
        let host = self.host(certificate.host)?;
        Ok(host.map(|host| (host, certificate)))
    }

    /// Hosts that have no certificate of an authority, by their names.
    ///
    /// # Errors
    /// If the store fails.
    pub fn left_by(&self, authority: &[u8; 32]) -> Result<Vec<String>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT name FROM host WHERE NOT EXISTS \
             (SELECT 1 FROM certificate WHERE host = host.id AND authority = ?1) ORDER BY name",
        )?;
        let names = query.query_map([authority], |row| row.get(0))?;
        names.map(|name| name.map_err(StoreError::from)).collect()
    }
}

fn add_certificate(
    change: &Transaction<'_>,
    fingerprint: &[u8; 32],
    host: i64,
    now_s: u64,
    authority: Option<&[u8; 32]>,
) -> rusqlite::Result<usize> {
    change.execute(
        "INSERT INTO certificate (fingerprint, host, issued_s, authority) VALUES (?1, ?2, ?3, ?4)",
        params![fingerprint, host, integer(now_s), authority],
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
