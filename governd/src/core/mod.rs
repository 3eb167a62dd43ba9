//! The decisions of the daemon: inputs in, commands out; no clock, no files, no tasks.

pub mod classify;
pub mod controls;
pub mod counts;
pub mod digest;
pub mod hits;
pub mod inventory;
mod local;
pub mod modes;
pub mod names;
pub mod notices;
pub mod process;
pub mod recent;
pub mod said;
pub mod state;
pub mod tools;
pub mod trace;
pub mod unseen;
pub mod workload;
