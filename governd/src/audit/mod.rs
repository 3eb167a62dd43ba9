//! What is recorded, and the log that keeps it.
//!
//! Pure: a typed [`record::Record`] becomes one line of canonical JSON in OCSF form, with time and
//! host facts given as values; `tree` and `checkpoint` are the hashes and signatures by which
//! anybody can tell that no line was changed, and `proof` is one record with both. `log` is the
//! only door to the log's files. What a decision means and who gets told is not decided here.

pub mod canonical;
pub mod checkpoint;
pub mod cosign;
pub mod export;
pub mod extract;
pub mod keys;
pub mod log;
pub mod proof;
pub mod record;
pub mod tree;
#[cfg(test)]
mod vectors;
pub mod verify;
pub mod witness;
