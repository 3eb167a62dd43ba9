//! Metrics: what can be late, lost, dropped or refused, in OpenMetrics text, over a Unix socket or
//! loopback.
//!
//! Nothing is counted for metrics alone. A scrape asks the owner task for the same report that
//! `governd status` prints, so both always agree, and an owner that is stuck fails the scrape.

mod families;
mod server;
mod sink;
#[cfg(test)]
mod tests;

pub use server::{Address, AddressError, MetricsError, Server};
pub use sink::OfSink;
