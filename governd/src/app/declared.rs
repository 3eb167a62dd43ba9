//! What agents' documents allow, against what was seen of them.

use governd_common::{
    address::Address,
    decide::{Flow, decide},
    key::BindingKey,
    verdict::Verdict,
};

use super::clock;
use crate::{
    core::inventory::EndpointSeen,
    policy::{image::TableImage, tables::ImageTables},
};

/// The connections that an inventory has are by TCP.
const TCP: u8 = 6;

/// A policy that knows the names of some destinations.
pub(super) struct Declared<'a> {
    tables: ImageTables<'a>,
    now_ns: u64,
}

impl<'a> Declared<'a> {
    /// For these destinations.
    pub(super) fn new<'b>(
        image: &'a TableImage,
        endpoints: impl Iterator<Item = &'b EndpointSeen>,
    ) -> Self {
        let mut tables = ImageTables::new(image);
        for seen in endpoints {
            tables.bind(BindingKey::HOST, &seen.host, seen.address.into(), u64::MAX);
        }
        Self { tables, now_ns: clock::boot_ns() }
    }

    /// Whether a subject may reach one of them.
    pub(super) fn allows(&self, subject: u32, seen: &EndpointSeen) -> bool {
        let address = Address::from(seen.address);
        let (port, protocol, now_ns) = (seen.port, TCP, self.now_ns);
        let flow = Flow { subject, address, port, protocol, now_ns };
        decide(&self.tables, &flow).verdict == Verdict::Allow
    }
}
