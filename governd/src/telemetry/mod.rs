//! Logging and metrics of the daemon itself.
