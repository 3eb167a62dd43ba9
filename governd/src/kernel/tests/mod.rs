//! Tests with the loaded programs, on this kernel.
//!
//! They enforce only in a cgroup of their own, talk only over loopback, and need root; without it
//! they say that they were skipped, and in CI that is a failure.

mod agent;
mod canary;
mod differential;
mod differential_bytes;
mod differential_dns;
mod dns;
mod dns_tcp;
mod egress;
mod filter;
mod foreign;
mod frames;
mod hello;
mod hits;
mod host;
mod image;
mod instructions;
mod intact;
mod lack;
mod limits;
mod lineage;
mod loads;
mod local;
mod loss;
mod lsm;
mod object;
mod ordinary;
mod pins;
mod refused;
mod repeated;
mod say;
mod swap;
mod traffic;
mod verdicts;
