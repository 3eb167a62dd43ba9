//! Policy documents: from YAML to tables, and back to words. Pure: files are read by the caller,
//! and what only the host knows comes in through [`host::Host`].
//!
//! Text becomes nodes with places (`yaml`), nodes become documents (`shape`, [`document`]),
//! documents become the [`model`] (`check`), and the model becomes the bytes of the kernel's
//! tables ([`compile`]). Each step reports all that it finds as [`diagnostic::Diagnostics`].

pub mod compile;
pub mod crd;
pub mod diagnostic;
pub mod diff;
pub mod document;
pub mod draft;
pub mod effective;
pub mod explain;
pub mod host;
pub mod ids;
pub mod image;
pub mod learn;
pub mod lifecycle;
pub mod limits;
pub mod model;
pub mod nearest;
pub mod observed;
pub mod reach;
pub mod recalled;
pub mod said;
pub mod shape;
pub mod tables;
pub mod testing;
pub mod trial;
pub mod unrecorded;
pub mod value;

mod check;
mod groups;
mod lineage;
mod load;
mod recognised;
mod report;
mod standing;
mod whole;
mod words;
mod yaml;

#[cfg(test)]
mod tests;

pub use load::{Documents, load};
pub use report::{Report, check};
