//! What a rule or a default comes to, for the kind of traffic that it is.

use crate::{
    address::Address,
    decide::{Decision, Flow, Hit, Named, Proof, named_flag},
    table::entry_flag,
    verdict::{Reason, Verdict},
};

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PORT_HTTP: u16 = 80;
const PORT_HTTPS: u16 = 443;

/// What it depends on, in two numbers: so that the programs can find it in a function that the
/// verifier checks by itself, and none of the ways through it is followed on from there.
#[derive(Clone, Copy, Debug)]
pub struct Basis {
    /// The rule that fits, or none.
    pub hit: Hit,
    /// From the lowest bit: protocol (8), port (16), and bits of [`basis_flag`] (32).
    pub what: u64,
}

/// Bits of [`Basis::what`], beside those of [`named_flag`].
pub(crate) mod basis_flag {
    /// The rule is on a network.
    pub(crate) const NETWORK: u32 = 1 << 8;
    /// Names may be denied, and none is known.
    pub(crate) const ASKS_NAMES: u32 = 1 << 9;
    /// The default denies.
    pub(crate) const DENIES: u32 = 1 << 10;
    /// The subject is a registered agent.
    pub(crate) const AGENT: u32 = 1 << 11;

    #[inline(always)]
    pub(crate) const fn when(is_so: bool, flag: u32) -> u32 {
        if is_so { flag } else { 0 }
    }
}

impl Basis {
    const PORT: u32 = 8;
    const FLAGS: u32 = 24;

    #[inline(always)]
    pub(crate) const fn new(hit: Hit, flow: &Flow, flags: u32) -> Self {
        let what = flow.protocol as u64 | (flow.port as u64) << Self::PORT;
        Self { hit, what: what | (flags as u64) << Self::FLAGS }
    }

    /// What it comes to, as a number.
    #[inline(always)]
    pub fn opening(self) -> u32 {
        let flags = (self.what >> Self::FLAGS) as u32;
        let has = |flag: u32| flags & flag != 0;
        let flow = Flow {
            subject: 0,
            address: Address::UNSPECIFIED,
            port: (self.what >> Self::PORT) as u16,
            protocol: self.what as u8,
            now_ns: 0,
        };
        let asks_names = has(basis_flag::ASKS_NAMES);
        let opening = if self.hit == Hit::NONE {
            Opening::of_default(&flow, has(basis_flag::DENIES), asks_names, has(basis_flag::AGENT))
        } else if has(basis_flag::NETWORK) {
            Opening::of_network(&flow, self.hit, asks_names)
        } else {
            Opening::of_name(&flow, Named { set: 0, flags }, self.hit)
        };
        opening.0
    }
}

const _: () = {
    let named = named_flag::KNOWN | named_flag::PLAINTEXT | named_flag::PROVEN | named_flag::DNS;
    assert!(named < basis_flag::NETWORK);
};

/// What a rule or a default comes to, for the kind of traffic that it is. A number, as a hit is: a
/// [`Proof`] if it allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Opening(pub(crate) u32);

impl Opening {
    const FREE: Self = Self::after(Proof::None);
    /// It allows, if the address is bound to the name.
    pub(crate) const BINDING: Self = Self(0x10);
    /// It denies.
    const CLOSED: Self = Self(0x20);
    /// It allows, but not this: the lowest byte is the reason.
    const NOT: u32 = 0x100;

    const fn after(proof: Proof) -> Self {
        Self(proof as u32)
    }

    pub(crate) const fn not(reason: Reason) -> Self {
        Self(Self::NOT | reason as u32)
    }

    #[inline(always)]
    fn of_name(flow: &Flow, named: Named, hit: Hit) -> Self {
        if !hit.allows() {
            return Self::CLOSED;
        }
        if !hit.admits(flow) {
            let is_quic = flow.protocol == PROTOCOL_UDP && flow.port == PORT_HTTPS;
            return Self::not(if is_quic { Reason::Quic } else { Reason::NoServerName });
        }
        let is_by_dns = hit.has(entry_flag::VERIFY_DNS);
        if !named.has(named_flag::KNOWN) {
            return match flow.protocol {
                PROTOCOL_TCP if !is_by_dns => Self::after(Proof::Name),
                PROTOCOL_UDP if !is_by_dns => Self::after(Proof::Quic),
                _ => Self::FREE,
            };
        }
        if named.has(named_flag::DNS) {
            return if is_by_dns { Self::FREE } else { Self::not(Reason::NoServerName) };
        }
        let may_be_plain = hit.has(entry_flag::PLAINTEXT) || flow.port == PORT_HTTP;
        if named.has(named_flag::PLAINTEXT) && !may_be_plain {
            return Self::not(Reason::NoServerName);
        }
        let is_free = hit.has(entry_flag::VERIFY_SNI) || named.has(named_flag::PROVEN);
        if is_free { Self::FREE } else { Self::BINDING }
    }

    #[inline(always)]
    fn of_network(flow: &Flow, hit: Hit, asks_names: bool) -> Self {
        if !hit.allows() {
            return Self::CLOSED;
        }
        let is_quic = flow.protocol == PROTOCOL_UDP && flow.port == PORT_HTTPS;
        if is_quic && !hit.has(entry_flag::QUIC) {
            return Self::not(Reason::Quic);
        }
        match flow.protocol {
            PROTOCOL_TCP if asks_names => Self::after(Proof::Denials),
            PROTOCOL_UDP if asks_names && is_quic => Self::after(Proof::Quic),
            _ => Self::FREE,
        }
    }

    /// Ordinary programs are looked at only where names of AI endpoints can be expected.
    #[inline(always)]
    fn of_default(flow: &Flow, is_deny: bool, asks_names: bool, is_agent: bool) -> Self {
        if is_deny {
            return Self::CLOSED;
        }
        let is_web = flow.port == PORT_HTTPS || flow.port == PORT_HTTP;
        match flow.protocol {
            PROTOCOL_TCP if asks_names && (is_agent || is_web) => Self::after(Proof::Denials),
            PROTOCOL_UDP if asks_names && flow.port == PORT_HTTPS => {
                if is_agent {
                    Self::not(Reason::Quic)
                } else {
                    Self::after(Proof::Quic)
                }
            }
            _ => Self::FREE,
        }
    }

    /// Completes the answer; `is_new` if the name was only just read.
    #[inline(always)]
    pub(crate) fn write(self, is_new: bool, answer: &mut Decision) {
        if self == Self::CLOSED {
            answer.verdict = Verdict::Deny;
            let is_tiered = matches!(answer.reason, Reason::Approval | Reason::Halt);
            if is_new && !is_tiered {
                (answer.reason, answer.quiet) = (Reason::ServerName, false);
            }
        } else if self.0 & Self::NOT != 0 {
            answer.verdict = Verdict::Deny;
            answer.quiet = false;
            answer.reason = match Reason::from_byte(self.0 as u8) {
                Some(reason) => reason,
                None => Reason::Fault,
            };
        } else {
            answer.proof = Proof::from_byte(self.0 as u8 & 3);
        }
    }
}
