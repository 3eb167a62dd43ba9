//! Processes, cgroups, users and sockets, as the host tells it.
//!
//! Synchronous, and bounded in size: every file is read up to a limit of [`limits`], every walk
//! visits a limited number of entries, and what cannot be read is `None`, never an error that
//! stops the daemon. Not for: decisions about what a process may do (`policy`, kernel), or about
//! what it is (`core::inventory`).

pub mod additions;
pub mod cgroup;
mod clock;
pub mod digest;
pub mod filters;
pub mod host;
pub mod image;
pub mod interfaces;
pub mod limits;
pub mod mounts;
mod netlink;
pub mod netns;
pub mod owner;
pub mod pods;
pub mod proc;
pub mod program;
pub mod ptrace;
mod read;
pub mod redact;
pub mod sockets;
pub mod table;
pub mod tools;
pub mod users;
pub mod worker;
