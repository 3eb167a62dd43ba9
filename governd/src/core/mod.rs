//! The decisions of the daemon: inputs in, commands out; no clock, no files, no tasks.

pub mod process;
