//! governd: a host agent that knows every AI agent on a host, lets each reach only what its owner
//! approved, and proves it.
//!
//! Rooms depend one way: the pure ones (`core`, `policy`, `audit`) know nothing of the adapters
//! (`kernel`, `workload`, `audit::log`, `control`), which do not import each other; `app` composes
//! them and `cli` runs it. `cargo xtask tidy` checks this.

pub mod app;
pub mod audit;
pub mod capture;
pub mod catalog;
pub mod cli;
pub mod confine;
pub mod control;
pub mod core;
pub mod kernel;
pub mod policy;
pub mod settings;
pub mod sink;
pub mod store;
pub mod telemetry;
pub mod workload;
