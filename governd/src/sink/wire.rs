//! What hosts and sink say to each other: JSON over HTTP/1.1 over TLS.
//!
//! | request | who | body | answer |
//! |---|---|---|---|
//! | `POST /v1/enroll` | with a token | [`Enroll`] | [`Enrolled`] |
//! | `GET /v1/state` | a host | | [`State`] |
//! | `POST /v1/append` | a host | [`Head`] in a line, then the records, one a line | [`Appended`] |
//!
//! Anything else is answered with a status from 400 on and a [`Refused`].

use serde::{Deserialize, Serialize};

/// Where a token is exchanged for a certificate.
pub const ENROLL: &str = "/v1/enroll";
/// How far the sink is with the host that asks.
pub const STATE: &str = "/v1/state";
/// Records.
pub const APPEND: &str = "/v1/append";

/// Records in a batch, unless one commit of the host has more.
pub const BATCH_RECORDS_MAX: u64 = 4_096;
/// Longest body that the sink reads, in bytes: a commit of 65,536 records of usual length.
pub const BODY_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// A host asks to be let in.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Enroll {
    /// The token's secret.
    pub secret: String,
    /// The key that signs the host's log, in signed-note's form.
    pub log_key: String,
    /// The P-256 public key of the certificate to be made: an uncompressed point, in base64.
    pub public_key: String,
}

/// The host is let in.
#[derive(Debug, Deserialize, Serialize)]
pub struct Enrolled {
    /// Its certificate, in PEM.
    pub certificate: String,
    /// The key by which the sink cosigns.
    pub witness: String,
}

/// How far the sink is.
#[derive(Debug, Deserialize, Serialize)]
pub struct State {
    /// Records that it has of the host.
    pub size: u64,
}

/// In front of records.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Index of the first.
    pub first: u64,
    /// The signed checkpoint behind the last.
    pub checkpoint: String,
}

/// Records are durable.
#[derive(Debug, Deserialize, Serialize)]
pub struct Appended {
    /// The checkpoint with the sink's cosignature.
    pub receipt: String,
}

/// Something was refused.
#[derive(Debug, Deserialize, Serialize)]
pub struct Refused {
    /// What is wrong, for people.
    pub error: String,
    /// The word for it, for programs.
    pub what: String,
}
