//! What the daemon and the eBPF programs share: limits, the names of maps and programs, the bytes
//! that cross the boundary, and the one decision.
//!
//! Everything here is compiled twice, for the host and for `bpfel-unknown-none`: no allocation, no
//! clock, no panic. What the kernel knows and user space cannot (maps, helpers) comes in through
//! traits. Not for: anything that only one side needs.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

/// A structure whose bytes both sides read: C layout, no implicit padding, valid for any bytes.
macro_rules! shared {
    ($(#[$meta:meta])* $vis:vis struct $name:ident $body:tt) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, Eq, PartialEq, zerocopy::FromBytes, zerocopy::IntoBytes,
            zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[repr(C)]
        $vis struct $name $body
    };
}

pub mod address;
mod binding;
pub mod conversation;
pub mod decide;
pub mod delegation;
pub mod dns;
pub mod event;
mod hit;
pub mod http;
mod index;
pub mod key;
pub mod layout;
pub mod limit;
pub mod limits;
pub mod name;
pub mod names;
mod opening;
mod packed;
pub mod quic;
pub mod repeat;
pub mod stream;
pub mod table;
pub mod tls;
pub mod verdict;
