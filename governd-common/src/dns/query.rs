//! What a query may carry besides its question, for subjects whose questions are restricted.
//!
//! Everything that a client chooses and a server sees can carry data out: reserved header bits,
//! further records, EDNS options of its own, bytes after the end. What today's clients send is let
//! through, with the lengths that the options have; the rest is not.

use crate::{
    dns::{Dns, DnsRefusal},
    limits::DNS_OPTIONS_MAX,
    repeat::{Loop, Repeat, Step, Work},
};

/// Recursion desired (RFC 1035), authentic data and checking disabled (RFC 4035).
const FLAGS_OF_CLIENTS: u16 = 0x0100 | 0x0020 | 0x0010;
/// The record that carries EDNS (RFC 6891 section 6.1.2).
const TYPE_OPT: u16 = 41;
/// Bytes of that record before its options: root, type, size, flags, length.
const OPT_BYTES: u32 = 11;
/// DNSSEC OK, the only flag there is (RFC 3225).
const FLAG_DO: u16 = 0x8000;
/// Bytes of an option before its data.
const OPTION_BYTES: u32 = 4;

/// Options that clients send (IANA "DNS EDNS0 Option Codes").
mod option {
    pub(super) const NSID: u16 = 3;
    pub(super) const DAU: u16 = 5;
    pub(super) const N3U: u16 = 7;
    pub(super) const COOKIE: u16 = 10;
    pub(super) const KEEPALIVE: u16 = 11;
    pub(super) const PADDING: u16 = 12;
}

/// Lists of algorithms (RFC 6975) have a byte for each that a validator knows.
const ALGORITHMS_MAX: u32 = 16;
const CLIENT_COOKIE_BYTES: u32 = 8;
/// Client cookie and the longest server cookie (RFC 7873 section 4).
const COOKIE_BYTES_MAX: u32 = 40;

impl Dns {
    /// Checks that a query, which [`Dns::query`] has just read, carries its question and no more
    /// than clients add to one.
    #[inline(always)]
    pub fn carries_nothing_else<R: Repeat>(&mut self) -> Result<(), DnsRefusal> {
        let records = self.word(10);
        let has_others = self.word(6) != 0 || self.word(8) != 0 || records > 1;
        if self.flags & !FLAGS_OF_CLIENTS != 0 || has_others {
            return Err(DnsRefusal::Extra);
        }
        if records == 1 {
            self.options::<R>()?;
        }
        if self.at == self.len { Ok(()) } else { Err(DnsRefusal::Extra) }
    }

    #[inline(always)]
    fn options<R: Repeat>(&mut self) -> Result<(), DnsRefusal> {
        let at = self.at;
        if at + OPT_BYTES > self.len {
            return Err(DnsRefusal::Extra);
        }
        let is_opt = self.byte(at) == 0 && self.word(at + 1) == TYPE_OPT;
        // The size is any; then the upper bits of the response code, the version and the flags.
        let is_plain = self.word(at + 5) == 0 && self.word(at + 7) & !FLAG_DO == 0;
        let data_len = u32::from(self.word(at + 9));
        if !is_opt || !is_plain || at + OPT_BYTES + data_len != self.len {
            return Err(DnsRefusal::Extra);
        }
        self.at = at + OPT_BYTES;
        R::repeat::<_, QueryOption<R>>(DNS_OPTIONS_MAX as u32, self);
        self.outcome()
    }
}

pub(super) struct QueryOption<R>(core::marker::PhantomData<R>);

impl<R: Repeat> Work<Dns> for QueryOption<R> {
    #[inline(always)]
    fn of(dns: &Dns) -> Loop {
        Loop::Options(dns.place)
    }

    #[inline(always)]
    fn step(_index: u32, dns: &mut Dns) -> Step {
        let at = dns.at;
        if at >= dns.len {
            return Step::Stop;
        }
        let code = dns.word(at);
        let len = u32::from(dns.word(at + 2));
        dns.at = at + OPTION_BYTES + len;
        let is_common = match code {
            option::NSID | option::KEEPALIVE => len == 0,
            option::DAU..=option::N3U => len <= ALGORITHMS_MAX,
            option::COOKIE => {
                len == CLIENT_COOKIE_BYTES
                    || (2 * CLIENT_COOKIE_BYTES..=COOKIE_BYTES_MAX).contains(&len)
            }
            option::PADDING => {
                dns.walk.at = at + OPTION_BYTES;
                R::repeat::<_, PaddingByte>(len, dns);
                true
            }
            _ => false,
        };
        if !is_common || dns.at > dns.len {
            return dns.refuse(DnsRefusal::Extra);
        }
        if dns.refusal == 0 { Step::Again } else { Step::Stop }
    }
}

pub(super) struct PaddingByte;

impl Work<Dns> for PaddingByte {
    #[inline(always)]
    fn of(dns: &Dns) -> Loop {
        Loop::Padding(dns.place)
    }

    /// Padding is zeroes (RFC 7830 section 3).
    #[inline(always)]
    fn step(_index: u32, dns: &mut Dns) -> Step {
        let at = dns.walk.at;
        dns.walk.at = at + 1;
        if at >= dns.len || dns.byte(at) != 0 {
            return dns.refuse(DnsRefusal::Extra);
        }
        Step::Again
    }
}
