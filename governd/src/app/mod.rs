//! Composition root: settings become an application, which runs until it is drained.

pub mod asked;
pub mod clock;
pub mod sources;
