//! What user space says of sockets with QUIC.

use governd_common::{names::map, table::QuicSocket};

use super::{Kernel, KernelError, pod::Shared};

impl Kernel {
    /// What user space read in the beginning of a QUIC connection: refused sockets send nothing any
    /// more.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn judge_quic(&mut self, cookie: u64, is_refused: bool) -> Result<(), KernelError> {
        let socket = QuicSocket { waiting: 0, refused: u32::from(is_refused) };
        let stored = self.tables.quic_sockets.insert(cookie, Shared(socket), 0);
        stored.map_err(KernelError::map("write", map::QUIC_SOCKETS))
    }
}
