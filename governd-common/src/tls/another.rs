//! Another ClientHello on the same connection.
//!
//! A server may ask for one (HelloRetryRequest, RFC 8446 section 4.1.4), and goes by the name in
//! that. It stands in the clear, in the first handshake record after the first hello; before it
//! may come records of other kinds: the one that middleboxes want (appendix D.4), and early data,
//! which such a server passes over. If the server asks for none, what follows is encrypted, or a
//! message of TLS 1.2 of another type. An encrypted record may look like a hello by chance: it is
//! taken for one only if its version and the length of its session id fit as well.

use super::{Hello, RECORD_BYTES_MAX, RECORD_HANDSHAKE, TlsRefusal, VERSION_MAJOR};
use crate::repeat::Step;

const RECORD_CHANGE_CIPHER_SPEC: u32 = 20;
const RECORD_ALERT: u32 = 21;
const RECORD_DATA: u32 = 23;
/// By how much encryption may make a record longer (RFC 5246 section 6.2.3).
const EXPANSION_BYTES_MAX: u32 = 2_048;

/// What is read.
pub(super) mod later {
    /// The first hello.
    pub(in super::super) const FIRST: u32 = 0;
    /// What comes after it.
    pub(in super::super) const ANOTHER: u32 = 1;
    /// A record that is passed over, as none of a handshake.
    pub(in super::super) const PASSING: u32 = 2;
}

impl Hello {
    /// Looks for another hello behind the one that was read. [`Hello::feed`] then gives
    /// [`TlsRefusal::NotTls`] once none can come any more.
    #[inline(always)]
    pub fn look_for_another(&mut self) {
        let (record_left, early_left) = (self.record_left, self.early_left);
        self.begin_again();
        (self.record_left, self.early_left) = (record_left, early_left);
        self.later = later::ANOTHER;
    }

    /// Whether another hello is looked for or read.
    #[inline(always)]
    pub fn is_another(&self) -> bool {
        self.later != later::FIRST
    }

    /// A byte of a record's header, before another hello begins.
    #[inline(always)]
    pub(super) fn later_record_byte(&mut self, byte: u8) -> Step {
        self.record_value = self.record_value << 8 | u32::from(byte);
        self.record_gathered = self.record_gathered.wrapping_add(1);
        match self.record_gathered {
            1 => {
                self.later = match u32::from(byte) {
                    RECORD_HANDSHAKE => later::ANOTHER,
                    RECORD_CHANGE_CIPHER_SPEC | RECORD_ALERT => later::PASSING,
                    RECORD_DATA if self.early_left != 0 => later::PASSING,
                    _ => return self.refuse(TlsRefusal::NotTls),
                };
                Step::Again
            }
            2 if byte != VERSION_MAJOR => self.refuse(TlsRefusal::NotTls),
            5 => self.end_later_header(self.record_value & 0xffff),
            _ => Step::Again,
        }
    }

    #[inline(always)]
    fn end_later_header(&mut self, len: u32) -> Step {
        if len > RECORD_BYTES_MAX + EXPANSION_BYTES_MAX {
            return self.refuse(TlsRefusal::NotTls);
        }
        self.record_gathered = 0;
        self.record_left = len;
        if self.later == later::PASSING {
            self.skip = len;
            self.early_left = self.early_left.saturating_sub(len);
        }
        Step::Again
    }
}
