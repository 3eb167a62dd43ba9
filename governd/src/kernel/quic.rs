//! What user space says of sockets with QUIC.

use aya::maps::MapError;
use governd_common::{
    key::QuicKey,
    names::map,
    table::{QUIC_ID_WORDS, QuicFlow, quic_state},
};

use super::{Kernel, KernelError, pod::Shared};

/// What user space read of what a socket sends to an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QuicVerdict {
    /// The policy of this generation allows the name; the connection has this id.
    Allow {
        /// The generation.
        generation: u64,
        /// The connection's id, see [`governd_common::table::quic_id`].
        id: [u64; QUIC_ID_WORDS],
    },
    /// The name is not allowed: the socket sends nothing there any more.
    Refuse,
    /// No name yet, or none that is new.
    Wait,
}

impl Kernel {
    /// Stores what was read.
    ///
    /// # Errors
    /// If the map cannot be read or written.
    pub fn judge_quic(&mut self, key: QuicKey, verdict: QuicVerdict) -> Result<(), KernelError> {
        let flows = &mut self.tables.quic_flows;
        let none = [0; QUIC_ID_WORDS];
        let mut flow =
            QuicFlow { generation: 0, waiting: 0, state: quic_state::REFUSED, ids: [none, none] };
        match verdict {
            QuicVerdict::Allow { generation, id } => {
                (flow.generation, flow.state, flow.ids[0]) = (generation, quic_state::ALLOWED, id);
            }
            QuicVerdict::Refuse => {}
            QuicVerdict::Wait => match flows.get(&Shared(key), 0) {
                Ok(Shared(known)) => flow = QuicFlow { waiting: 0, ..known },
                Err(MapError::KeyNotFound) => return Ok(()),
                Err(error) => return Err(KernelError::map("read", map::QUIC_FLOWS)(error)),
            },
        }
        let stored = flows.insert(Shared(key), Shared(flow), 0);
        stored.map_err(KernelError::map("write", map::QUIC_FLOWS))
    }
}
