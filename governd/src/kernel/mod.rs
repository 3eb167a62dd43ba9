//! The only room that names aya: loads and attaches the programs, writes the policy tables, reads
//! the events. Not for: deciding anything, or knowing what a subject or a set stands for.

mod attach;
mod btf;
mod canary;
pub mod cgroup;
mod collection;
mod controls;
mod descriptors;
mod early;
mod error;
mod filter;
mod frames;
mod grace;
mod guard;
mod handover;
mod hits;
mod intact;
mod lack;
mod layout;
mod limits;
mod link;
mod load;
mod loads;
mod lsm;
pub mod memory;
mod meter;
mod newcomers;
mod object;
mod offer;
mod pins;
mod pod;
pub mod probe;
mod program;
mod quic;
mod records;
mod removals;
mod replay;
mod ring;
mod sending;
mod settings;
mod shape;
mod slotted;
mod status;
mod sys;
mod tables;
mod tc;
mod unix;
mod watched;

#[cfg(test)]
mod tests;

pub use descriptors::{DESCRIPTORS_HINT, raise_descriptors, too_few_descriptors};
pub use early::{Coming, Early};
pub use error::KernelError;
pub use filter::clear_unheld;
pub use frames::{FrameLink, Frames, Interface, Look};
pub use guard::{Harm, Tampering};
pub use lack::Lack;
pub use load::{Kernel, KernelOptions, raise_memlock};
pub use loads::{Load, Loads};
pub use offer::Offer;
pub use pins::Pins;
pub use quic::QuicVerdict;
pub use replay::{Direction, Replay};
pub use ring::{Events, RawEvent};
pub use status::{KernelStatus, ProgramStatus};
