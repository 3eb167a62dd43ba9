//! Policy documents: from YAML to tables, and back to words. Pure: files are read by the caller,
//! and what only the host knows comes in through [`host::Host`].

pub mod host;
pub mod image;
