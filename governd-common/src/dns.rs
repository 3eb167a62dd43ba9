//! DNS messages: what a query asks and which addresses an answer gives (RFC 1035, 2181, 4343).
//!
//! An answer teaches addresses of the one name in its question, and only through the answer
//! section: records owned by that name, or by what its CNAMEs lead to, followed in the order in
//! which they stand. The authority and additional sections are checked for their form and teach
//! nothing. A message that is malformed anywhere teaches nothing. Whether the message may be
//! believed at all (resolver, pending query) is for the caller.
//!
//! The message and everything that changes live in one [`Dns`], see [`crate::repeat`].

pub mod dns_type;
pub mod framing;
mod query;
mod rounds;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    address::Address,
    event::DnsAddress,
    index::masked,
    limits::{
        DNS_ADDRESSES_MAX, DNS_MESSAGE_BYTES_MAX, DNS_POINTERS_MAX, DNS_RECORDS_MAX, NAME_BYTES_MAX,
    },
    name::Name,
    repeat::{Repeat, Step},
    verdict::codes,
};
use rounds::{CompareByte, PassLabel, QuestionByte, Record, is_pointer};

/// Bytes of the message buffer: reads of up to 16 bytes at any masked offset stay inside.
pub const DNS_BUFFER_BYTES: usize = DNS_MESSAGE_BYTES_MAX + 16;

const CLASS_IN: u16 = 1;
const HEADER_BYTES: u32 = 12;
const OFFSET_MASK: u32 = DNS_MESSAGE_BYTES_MAX as u32 - 1;
const ADDRESS_MASK: u32 = DNS_ADDRESSES_MAX as u32 - 1;
/// Length octets and root included (RFC 1035 section 2.3.4).
const WIRE_NAME_BYTES_MAX: u32 = NAME_BYTES_MAX as u32 + 2;
const POINTERS_MAX: u32 = DNS_POINTERS_MAX as u32;
/// Rounds of a walk from label to label: labels, pointers and the root.
const WALK_ROUNDS_MAX: u32 = WIRE_NAME_BYTES_MAX / 2 + POINTERS_MAX + 1;
/// Rounds of a comparison of two names, byte by byte.
const COMPARE_ROUNDS_MAX: u32 = WIRE_NAME_BYTES_MAX + 2 * POINTERS_MAX + 1;
/// Largest TTL that is one; others count as 0 (RFC 2181 section 8).
const TTL_S_MAX: u32 = i32::MAX as u32;

const FLAG_RESPONSE: u16 = 0x8000;
const OPCODE_BITS: u16 = 0x7800;
const RCODE_BITS: u16 = 0x000f;

codes! {
    /// Why a message teaches nothing.
    DnsRefusal {
        /// Shorter than a header, or longer than [`DNS_MESSAGE_BYTES_MAX`].
        Length = 1 => "length",
        /// A query where an answer was expected, or the reverse.
        Direction = 2 => "direction",
        /// Not a standard query (RFC 1035 section 4.1.1).
        Opcode = 3 => "opcode",
        /// Not exactly one question.
        Questions = 4 => "questions",
        /// The question's class is not IN.
        Class = 5 => "class",
        /// The question's name is not a host name that a rule could speak of.
        Name = 6 => "name",
        /// The server answered with an error; the question is readable.
        Rcode = 7 => "rcode",
        /// The message breaks its own format.
        Malformed = 8 => "malformed",
        /// A query carries more than a question and what clients add to one.
        Extra = 9 => "extra",
    }
}

/// A message, what was read from it, and the parser's state. All zeroes is a valid beginning.
///
/// The caller fills `bytes[..len]` and calls [`Dns::query`] or [`Dns::answer`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Dns {
    /// The message, without the length prefix of TCP.
    pub bytes: [u8; DNS_BUFFER_BYTES],
    /// Length of the message in bytes.
    pub len: u32,
    /// Transaction id.
    pub id: u16,
    /// Flags word of the header.
    pub flags: u16,
    /// Question type; see [`dns_type`].
    pub question_type: u16,
    /// SVCB and HTTPS records in the answer section.
    pub service_bindings: u16,
    /// Name in the question.
    pub name: Name,
    /// Addresses in use.
    pub addresses_len: u32,
    /// Addresses that an answer gives for the name.
    pub addresses: [DnsAddress; DNS_ADDRESSES_MAX],
    /// Addresses and records that came after a limit was reached, and are ignored.
    pub ignored: u32,
    /// Which of the caller's messages it is, for loops ([`crate::repeat::Loop`]).
    pub place: u32,
    walk: Walk,
    compare: Compare,
    refusal: u32,
    at: u32,
    label_left: u32,
    done: u32,
    answers: u32,
    target: u32,
}

/// A walk over one name, from label to label.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Walk {
    at: u32,
    /// Start of the present piece; a pointer must lead before it.
    low: u32,
    /// Where the name ends in its own place; 0 as long as that is not known.
    end: u32,
    bytes: u32,
    pointers: u32,
    done: u32,
}

/// Two names side by side, each with compression.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Compare {
    left: u32,
    right: u32,
    label_left: u32,
    equal: u32,
}

impl Dns {
    /// Reads a query: `id`, `name` and `question_type`.
    #[inline(always)]
    pub fn query<R: Repeat>(&mut self) -> Result<(), DnsRefusal> {
        self.header()?;
        if self.flags & FLAG_RESPONSE != 0 {
            return Err(DnsRefusal::Direction);
        }
        self.question::<R>()
    }

    /// Reads an answer: what [`Dns::query`] reads, and `addresses`. On [`DnsRefusal::Rcode`] and
    /// whatever comes after the question, `name` and `question_type` are set, `addresses` is empty.
    #[inline(always)]
    pub fn answer<R: Repeat>(&mut self) -> Result<(), DnsRefusal> {
        self.header()?;
        if self.flags & FLAG_RESPONSE == 0 {
            return Err(DnsRefusal::Direction);
        }
        self.question::<R>()?;
        if self.flags & RCODE_BITS != 0 {
            return Err(DnsRefusal::Rcode);
        }
        self.records::<R>()
    }

    /// The addresses in use.
    pub fn addresses(&self) -> &[DnsAddress] {
        self.addresses.get(..self.addresses_len as usize).unwrap_or_default()
    }

    /// True if the server left records out (RFC 1035 section 4.1.1, TC).
    pub fn is_truncated(&self) -> bool {
        self.flags & 0x0200 != 0
    }

    #[inline(always)]
    fn header(&mut self) -> Result<(), DnsRefusal> {
        self.addresses_len = 0;
        self.ignored = 0;
        self.service_bindings = 0;
        self.refusal = 0;
        self.question_type = 0;
        self.name.wipe();
        if self.len < HEADER_BYTES || self.len > DNS_MESSAGE_BYTES_MAX as u32 {
            return Err(DnsRefusal::Length);
        }
        self.id = self.word(0);
        self.flags = self.word(2);
        if self.flags & OPCODE_BITS != 0 {
            return Err(DnsRefusal::Opcode);
        }
        if self.word(4) != 1 {
            return Err(DnsRefusal::Questions);
        }
        Ok(())
    }

    #[inline(always)]
    fn question<R: Repeat>(&mut self) -> Result<(), DnsRefusal> {
        self.at = HEADER_BYTES;
        self.label_left = 0;
        self.done = 0;
        R::repeat::<_, QuestionByte>(WIRE_NAME_BYTES_MAX, self);
        self.outcome()?;
        if self.done == 0 || self.at + 4 > self.len {
            return Err(DnsRefusal::Malformed);
        }
        if self.name.finish().is_err() {
            return Err(DnsRefusal::Name);
        }
        self.question_type = self.word(self.at);
        if self.word(self.at + 2) != CLASS_IN {
            return Err(DnsRefusal::Class);
        }
        self.at += 4;
        Ok(())
    }

    #[inline(always)]
    fn records<R: Repeat>(&mut self) -> Result<(), DnsRefusal> {
        self.answers = u32::from(self.word(6));
        self.target = HEADER_BYTES;
        let all = self.answers + u32::from(self.word(8)) + u32::from(self.word(10));
        let read = if all > DNS_RECORDS_MAX as u32 { DNS_RECORDS_MAX as u32 } else { all };
        self.ignored = all - read;
        R::repeat::<_, Record<R>>(read, self);
        let outcome = self.outcome();
        if outcome.is_err() {
            self.addresses_len = 0;
        }
        outcome
    }

    #[inline(always)]
    fn outcome(&self) -> Result<(), DnsRefusal> {
        match DnsRefusal::from_byte(self.refusal as u8) {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    #[inline(always)]
    fn refuse(&mut self, refusal: DnsRefusal) -> Step {
        self.refusal = refusal as u32;
        Step::Stop
    }

    /// Passes over a name; `walk.done` says whether it is well formed and `walk.end` where it ends.
    #[inline(always)]
    fn pass_name<R: Repeat>(&mut self, at: u32) {
        self.walk = Walk { at, low: at, end: 0, bytes: 0, pointers: 0, done: 0 };
        if self.leads_to(at, HEADER_BYTES) || self.leads_to(at, self.target) {
            // Names that were read already: the question's, and the one of the chain's end.
            self.walk.done = u32::from(at + 2 <= self.len);
            self.walk.end = at + 2;
        } else {
            R::repeat::<_, PassLabel>(WALK_ROUNDS_MAX, self);
        }
    }

    /// True if the name at an offset, already passed over, is the one that the chain leads to.
    #[inline(always)]
    fn is_target<R: Repeat>(&mut self, at: u32) -> bool {
        if self.leads_to(at, self.target) {
            return true;
        }
        self.compare = Compare { left: at, right: self.target, label_left: 0, equal: 0 };
        R::repeat::<_, CompareByte>(COMPARE_ROUNDS_MAX, self);
        self.compare.equal != 0
    }

    /// True if the name at an offset is a pointer to another, and nothing else.
    #[inline(always)]
    fn leads_to(&self, at: u32, to: u32) -> bool {
        is_pointer(u32::from(self.byte(at))) && self.pointer(at) == to
    }

    #[inline(always)]
    fn bind(&mut self, data: u32, is_v4: bool, ttl_s: u32) {
        if self.addresses_len >= DNS_ADDRESSES_MAX as u32 {
            self.ignored += 1;
            return;
        }
        let mut address = Address::v4([0; 4]);
        if is_v4 {
            address = Address::v4([
                self.byte(data),
                self.byte(data + 1),
                self.byte(data + 2),
                self.byte(data + 3),
            ]);
        } else {
            let from = masked(data, OFFSET_MASK);
            if let Some(octets) = self.bytes.get(from..from + 16) {
                address.bytes.copy_from_slice(octets);
            }
        }
        let ttl_s = if ttl_s > TTL_S_MAX { 0 } else { ttl_s };
        if let Some(place) = self.addresses.get_mut(masked(self.addresses_len, ADDRESS_MASK)) {
            *place = DnsAddress { address, ttl_s };
        }
        self.addresses_len += 1;
    }

    #[inline(always)]
    fn byte(&self, at: u32) -> u8 {
        self.bytes.get(masked(at, OFFSET_MASK)).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn word(&self, at: u32) -> u16 {
        u16::from(self.byte(at)) << 8 | u16::from(self.byte(at + 1))
    }

    #[inline(always)]
    fn pointer(&self, at: u32) -> u32 {
        u32::from(self.word(at)) & 0x3fff
    }
}
