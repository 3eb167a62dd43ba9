//! The bodies of the loops over a message.

use core::marker::PhantomData;

use super::{
    CLASS_IN, Dns, DnsRefusal, HEADER_BYTES, POINTERS_MAX, WIRE_NAME_BYTES_MAX, dns_type,
    query::{PaddingByte, QueryOption},
};
use crate::{
    name::fold_case,
    repeat::{Loop, Repeat, Step, Work},
};

impl Dns {
    /// One round of a loop, for who cannot hand on a [`Work`].
    #[inline(always)]
    pub fn round<R: Repeat>(&mut self, of: Loop, index: u32) -> Step {
        match of {
            Loop::Question(_) => QuestionByte::step(index, self),
            Loop::Labels(_) => PassLabel::step(index, self),
            Loop::Comparison(_) => CompareByte::step(index, self),
            Loop::Records(_) => Record::<R>::step(index, self),
            Loop::Options(_) => QueryOption::<R>::step(index, self),
            Loop::Padding(_) => PaddingByte::step(index, self),
            Loop::Addresses(_) | Loop::Hello | Loop::Conversation | Loop::Short => Step::Stop,
        }
    }
}

pub(super) struct QuestionByte;

impl Work<Dns> for QuestionByte {
    #[inline(always)]
    fn of(dns: &Dns) -> Loop {
        Loop::Question(dns.place)
    }

    /// One byte of the question's name. Nothing stands before it that a pointer could lead to.
    #[inline(always)]
    fn step(_index: u32, dns: &mut Dns) -> Step {
        if dns.at >= dns.len {
            return dns.refuse(DnsRefusal::Malformed);
        }
        let byte = dns.byte(dns.at);
        dns.at += 1;
        if dns.label_left != 0 {
            dns.label_left -= 1;
            return match dns.name.push_label_byte(byte) {
                Ok(()) => Step::Again,
                Err(_) => dns.refuse(DnsRefusal::Name),
            };
        }
        if byte == 0 {
            dns.done = 1;
            return Step::Stop;
        }
        if byte >= 64 {
            return dns.refuse(DnsRefusal::Malformed);
        }
        dns.label_left = u32::from(byte);
        if dns.name.len != 0 && dns.name.end_label().is_err() {
            return dns.refuse(DnsRefusal::Name);
        }
        Step::Again
    }
}

pub(super) struct PassLabel;

impl Work<Dns> for PassLabel {
    #[inline(always)]
    fn of(dns: &Dns) -> Loop {
        Loop::Labels(dns.place)
    }

    #[inline(always)]
    fn step(_index: u32, dns: &mut Dns) -> Step {
        let at = dns.walk.at;
        let length = u32::from(dns.byte(at));
        if at >= dns.len {
            return Step::Stop;
        }
        if is_pointer(length) {
            let to = dns.pointer(at);
            if dns.walk.end == 0 {
                dns.walk.end = at + 2;
            }
            dns.walk.pointers += 1;
            let is_backwards = to >= HEADER_BYTES && to < dns.walk.low;
            if !is_backwards || at + 2 > dns.len || dns.walk.pointers > POINTERS_MAX {
                return Step::Stop;
            }
            dns.walk.at = to;
            dns.walk.low = to;
            return Step::Again;
        }
        dns.walk.bytes += length + 1;
        if length >= 64 || dns.walk.bytes > WIRE_NAME_BYTES_MAX {
            return Step::Stop;
        }
        dns.walk.at = at + length + 1;
        if length != 0 {
            return Step::Again;
        }
        if dns.walk.end == 0 {
            dns.walk.end = at + 1;
        }
        dns.walk.done = 1;
        Step::Stop
    }
}

pub(super) struct CompareByte;

impl Work<Dns> for CompareByte {
    #[inline(always)]
    fn of(dns: &Dns) -> Loop {
        Loop::Comparison(dns.place)
    }

    /// One byte of both names, or one pointer. Both are known to be well formed.
    #[inline(always)]
    fn step(_index: u32, dns: &mut Dns) -> Step {
        let (left, right) = (dns.compare.left, dns.compare.right);
        let (a, b) = (dns.byte(left), dns.byte(right));
        if dns.compare.label_left == 0 {
            if left == right {
                dns.compare.equal = 1;
                return Step::Stop;
            }
            if is_pointer(u32::from(a)) {
                dns.compare.left = dns.pointer(left);
                return Step::Again;
            }
            if is_pointer(u32::from(b)) {
                dns.compare.right = dns.pointer(right);
                return Step::Again;
            }
            if a != b || a == 0 {
                dns.compare.equal = u32::from(a == b);
                return Step::Stop;
            }
            dns.compare.label_left = u32::from(a);
        } else {
            if fold_case(a) != fold_case(b) {
                return Step::Stop;
            }
            dns.compare.label_left -= 1;
        }
        dns.compare.left = left + 1;
        dns.compare.right = right + 1;
        Step::Again
    }
}

pub(super) struct Record<R>(PhantomData<R>);

impl<R: Repeat> Work<Dns> for Record<R> {
    #[inline(always)]
    fn of(dns: &Dns) -> Loop {
        Loop::Records(dns.place)
    }

    #[inline(always)]
    fn step(index: u32, dns: &mut Dns) -> Step {
        let owner = dns.at;
        dns.pass_name::<R>(owner);
        let fixed = dns.walk.end;
        if dns.walk.done == 0 || fixed + 10 > dns.len {
            return dns.refuse(DnsRefusal::Malformed);
        }
        let kind = dns.word(fixed);
        let class = dns.word(fixed + 2);
        let ttl_s = u32::from(dns.word(fixed + 4)) << 16 | u32::from(dns.word(fixed + 6));
        let data_len = u32::from(dns.word(fixed + 8));
        let data = fixed + 10;
        dns.at = data + data_len;
        if dns.at > dns.len {
            return dns.refuse(DnsRefusal::Malformed);
        }
        if class != CLASS_IN && !has_own_class(kind) {
            // All records have the question's class (RFC 1035 section 4.1).
            return dns.refuse(DnsRefusal::Malformed);
        }
        if index >= dns.answers {
            return Step::Again;
        }
        match kind {
            dns_type::A | dns_type::AAAA => {
                let is_v4 = kind == dns_type::A;
                if data_len != if is_v4 { 4 } else { 16 } {
                    return dns.refuse(DnsRefusal::Malformed);
                }
                if dns.is_target::<R>(owner) {
                    dns.bind(data, is_v4, ttl_s);
                }
            }
            dns_type::CNAME => {
                let follows = dns.is_target::<R>(owner);
                dns.pass_name::<R>(data);
                if dns.walk.done == 0 || dns.walk.end != dns.at {
                    return dns.refuse(DnsRefusal::Malformed);
                }
                if follows {
                    dns.target = data;
                }
            }
            dns_type::SVCB | dns_type::HTTPS => dns.service_bindings += 1,
            _ => {}
        }
        Step::Again
    }
}

/// True if a length octet begins a compression pointer (RFC 1035 section 4.1.4).
#[inline(always)]
pub(super) fn is_pointer(length: u32) -> bool {
    length & 0xc0 == 0xc0
}

/// True for records that belong to the message and not to its data: OPT, SIG(0), TKEY and TSIG
/// (RFC 6891, 2931, 2930, 8945).
#[inline(always)]
fn has_own_class(kind: u16) -> bool {
    matches!(kind, 24 | 41 | 249 | 250)
}
