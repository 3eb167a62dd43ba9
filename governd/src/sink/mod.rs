//! The central sink: takes the logs of many hosts, checks that each only grows, keeps them, and
//! cosigns what it saw. What a batch is worth is decided in `audit::witness`; this room has the
//! connections, the certificates and the file.

mod alarm;
mod answer;
pub mod authority;
mod client;
pub mod counts;
pub mod deleting;
pub mod deletion;
mod doorkeeper;
pub mod files;
mod keeper;
pub mod notice;
mod paced;
pub mod pack;
mod refusals;
pub mod server;
mod shares;
pub mod store;
pub mod tiles;
pub mod validity;
pub mod wire;
