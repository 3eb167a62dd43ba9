//! What hosts and sink say to each other: HTTP/2, or HTTP/1.1, over TLS.
//!
//! | request | who | body | answer |
//! |---|---|---|---|
//! | `POST /v1/enroll` | with a token | [`Enroll`] | [`Enrolled`] |
//! | `POST /v1/renew` | a host | [`Renew`] | [`Enrolled`] |
//! | `GET /v1/state` | a host | | [`State`] |
//! | `GET /v1/keys` | a host | | [`SinkKeys`] |
//! | `POST /v1/append` | a host | [`Head`] in a line, then records (`pack`) | [`Appended`] |
//!
//! A batch without records says where the host's log ends: hosts send one when they have nothing
//! else to send, so that one that is silent is told from one that has nothing to say.
//! Anything else is answered with a status from 400 on and a [`Refused`].

use serde::{Deserialize, Serialize};

use crate::audit::tree::sha256;

/// Where a token is exchanged for a certificate.
pub const ENROLL: &str = "/v1/enroll";
/// Where a certificate is exchanged for one that is valid for longer.
pub const RENEW: &str = "/v1/renew";
/// How far the sink is with the host that asks.
pub const STATE: &str = "/v1/state";
/// What a host is to trust the sink by.
pub const KEYS: &str = "/v1/keys";
/// Records.
pub const APPEND: &str = "/v1/append";

/// Records in a batch, unless one commit of the host has more.
pub const BATCH_RECORDS_MAX: u64 = 4_096;
/// Longest records of a batch, in bytes; no commit of a host has half as many.
pub const BATCH_BYTES_MAX: usize = 32 * 1_024 * 1_024;
/// Longest text beside the records of a batch, in bytes.
pub const BESIDE_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Records beyond which a host ends a batch with the commit, in bytes.
pub const BATCH_BYTES_WANTED: usize = 8 * 1_024 * 1_024;
/// Longest body that the sink reads, in bytes. Records usually shrink to less than a tenth.
pub const BODY_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// How often a host says where its log ends while it has nothing else to send, in seconds.
pub const IDLE_S: u64 = 30;

/// A host asks to be let in.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Enroll {
    /// The token's secret.
    pub secret: String,
    /// The key that signs the host's log, in signed-note's form.
    pub log_key: String,
    /// Where that key replaced others: the proofs of the records that say so, one after the other.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rotations: String,
    /// The P-256 public key of the certificate to be made: an uncompressed point, in base64.
    pub public_key: String,
}

/// A host asks for its next certificate.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// As in [`Enroll`].
    pub public_key: String,
    /// The digest of the sink's keys that the host has, where the sink announces one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<String>,
}

/// What a host trusts a sink by.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SinkKeys {
    /// Certificates of its authority, in PEM: two while one replaces the other.
    pub ca: String,
    /// The keys by which it cosigns, and did: a line each, the newest first.
    pub witnesses: String,
    /// The digest of these as [`SinkKeys::note`] has it, cosigned by the keys that cosign now: a
    /// host takes other keys only from who has the one that it knows.
    pub cosigned: String,
}

impl SinkKeys {
    /// What is cosigned: no checkpoint, whose second line is a number.
    pub fn note(digest: &str) -> String {
        format!("governd sink keys\n{digest}\n\n")
    }

    /// What both are known by: SHA-256, in hexadecimal.
    pub fn digest(&self) -> String {
        Self::digest_of(&self.ca, &self.witnesses)
    }

    /// The same of both.
    pub fn digest_of(ca: &str, witnesses: &str) -> String {
        let digest = sha256(&[ca.as_bytes(), b"\0", witnesses.as_bytes()]);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The host is let in.
#[derive(Debug, Deserialize, Serialize)]
pub struct Enrolled {
    /// Its certificate, in PEM.
    pub certificate: String,
    /// The key by which the sink cosigns. What else it has is asked for with [`KEYS`].
    pub witness: String,
}

/// How far the sink is.
#[derive(Debug, Deserialize, Serialize)]
pub struct State {
    /// Index behind the last record that it has of the host.
    pub size: u64,
    /// What an empty batch that follows must repeat: one that was on its way for long does not.
    pub session: u64,
    /// Whether the host's certificate should be renewed.
    pub renew: bool,
    /// Whether it takes what stands beside records. Sinks from before there was any do not say so.
    #[serde(default)]
    pub beside: bool,
    /// The digest of the [`SinkKeys`]. Sinks that do not replace theirs do not say so.
    #[serde(default)]
    pub keys: String,
}

/// In front of records.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Index of the first; of a batch without records, where the log ends.
    pub first: u64,
    /// The signed checkpoint behind the last.
    pub checkpoint: String,
    /// Where the host does not have the records before these any more: the roots of the complete
    /// subtrees of what was before (RFC 6962), the largest first, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Vec<String>>,
    /// Of a batch without records: that of the last [`State`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// Where something stands beside the records: bytes of the compressed records, behind which
    /// that follows, compressed as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines_bytes: Option<u64>,
}

impl Head {
    /// Records that the checkpoint says it covers, whoever signed it.
    pub fn size(&self) -> Option<u64> {
        self.checkpoint.lines().nth(1)?.parse().ok()
    }
}

/// Records are durable.
#[derive(Debug, Deserialize, Serialize)]
pub struct Appended {
    /// The checkpoint with the sink's cosignature.
    pub receipt: String,
    /// Whether the host's certificate should be renewed.
    pub renew: bool,
    /// As in [`State`].
    #[serde(default)]
    pub keys: String,
}

/// Something was refused.
#[derive(Debug, Deserialize, Serialize)]
pub struct Refused {
    /// What is wrong, for people.
    pub error: String,
    /// The word for it, for programs.
    pub what: String,
}
