//! Shared bytes for aya, which has a trait of its own for them.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A type of governd-common as a key or value of a map.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct Shared<T>(pub(crate) T);

// SAFETY: aya reads and writes a `Pod` as bytes. zerocopy's derives on `T` have checked that every
// byte of it is initialised (no padding), that any bytes are a value of it, and that it has no
// interior mutability; `Shared` is transparent over it.
unsafe impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> aya::Pod for Shared<T> {}
