//! A host's facts in the form that every record has them.

use std::ops::Deref;

use ring::digest;
use uuid::Uuid;

use super::{Context, Stamp, object, prepared::Kept};
use crate::audit::canonical;

/// Bytes of an id that stand for this boot of this host.
const ID_BYTES: usize = 4;

/// What every record says of the host, and the parts of a line that it makes: they are the same in
/// all, and made once.
#[derive(Clone, Debug)]
pub struct Host {
    context: Context,
    /// OCSF's `device`, and `product` for governd.
    device: String,
    product: String,
    id: [u8; ID_BYTES],
    /// The same for the processes whose records are written.
    pub(super) kept: Kept,
}

impl Host {
    /// Of these facts.
    pub fn new(context: Context) -> Self {
        let (mut device, mut product) = (String::new(), String::new());
        canonical::object(&mut device, |o| object::device(o, &context));
        canonical::object(&mut product, |o| object::product(o, &context.version));
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(context.boot_id.as_bytes());
        hash.update(context.machine_id.as_deref().unwrap_or_default().as_bytes());
        let id = hash.finish().as_ref().first_chunk().copied().unwrap_or_default();
        Self { context, device, product, id, kept: Kept::default() }
    }

    /// The record's id: a UUIDv7 (RFC 9562 section 5.7) of the time it was logged, the low 42 bits
    /// of its index, and 32 bits that stand for this boot of this host. The same place in the same
    /// log always gives the same id.
    pub fn uid(&self, stamp: &Stamp) -> Uuid {
        // Version and variant take the upper four bits of the first and two of the third byte.
        let low = stamp.sequence & ((1 << 42) - 1);
        let [a, b, c, d] = self.id;
        let random = [
            ((low >> 38) & 0x0f) as u8,
            (low >> 30) as u8,
            ((low >> 24) & 0x3f) as u8,
            (low >> 16) as u8,
            (low >> 8) as u8,
            low as u8,
            a,
            b,
            c,
            d,
        ];
        uuid::Builder::from_unix_timestamp_millis(stamp.logged_ms, &random).into_uuid()
    }

    pub(super) fn device(&self) -> &str {
        &self.device
    }

    pub(super) fn product(&self) -> &str {
        &self.product
    }
}

impl Deref for Host {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}
