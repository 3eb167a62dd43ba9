//! The local API: a socket in /run/governd for the command line.
//!
//! A client writes one JSON request on a line and reads one JSON reply on a line; after a `watch`
//! request it goes on reading one event a line. The daemon's owner task answers; this room only
//! carries questions and answers.

pub mod client;
pub mod inventory;
pub mod protocol;
pub mod rules;
pub mod server;
