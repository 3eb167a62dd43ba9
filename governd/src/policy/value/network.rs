//! Addresses and networks.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use governd_common::address::Address;

use super::Fault;
use crate::policy::diagnostic::Code;

/// Bits before an IPv4 address in its mapped form.
const MAPPED_BITS: u8 = 96;

/// A network; a single address is one of full length. IPv4-mapped IPv6 is IPv4.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, Ord, PartialOrd)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Whether text is meant as an address or network, right or wrong.
pub(super) fn looks_like_one(text: &str) -> bool {
    let head = text.split('/').next().unwrap_or_default();
    let is_v4 = |text: &str| {
        text.contains('.') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    let is_v6 = |text: &str| text.matches(':').count() >= 2 && !text.contains("//");
    is_v4(head) || is_v6(head)
}

impl Network {
    /// Parses `10.0.0.0/8`, `192.0.2.1`, `2001:db8::/32` or `2001:db8::1`.
    ///
    /// # Errors
    /// What is wrong with it, and what was perhaps meant.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let (head, prefix) = match text.split_once('/') {
            Some((head, prefix)) => (head, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = head.parse().map_err(|_| not_an_address(text, head))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(prefix) => parse_prefix(text, prefix, bits)?,
        };
        let network = Self { address, prefix }.canonical();
        let masked = network.mask();
        if masked.address != network.address {
            let message = format!("`{text}` has bits set after its /{prefix}");
            let hint = format!("write {masked} for the network, or {address} for the address");
            return Err(Fault::new(Code::HostBits, message).hint(hint));
        }
        Ok(network)
    }

    /// Parses one address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_host(text: &str) -> Result<IpAddr, Fault> {
        let network = Self::parse(text)?;
        if network.is_host() {
            return Ok(network.address());
        }
        let fault = Fault::new(Code::BadNetwork, format!("`{text}` is a network"));
        Err(fault.hint("this is about one address"))
    }

    /// The first of its addresses that none of these networks has, which are in it and sorted.
    pub(crate) fn first_outside<'n>(
        &self,
        inside: impl Iterator<Item = &'n Self>,
    ) -> Option<IpAddr> {
        let (mut next, last) = self.bounds();
        for network in inside {
            let (first, last) = network.bounds();
            if first > next {
                break;
            }
            next = next.max(last.checked_add(1)?);
        }
        let address = |bits| match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        };
        (next <= last).then(|| address(next))
    }

    /// First and last address, as numbers.
    fn bounds(&self) -> (u128, u128) {
        let (first, bits) = match self.address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let size = bits - u32::from(self.prefix).min(bits);
        (first, first | !u128::MAX.checked_shl(size).unwrap_or(0))
    }

    /// A network whose parts are known to be right.
    pub(in crate::policy) const fn new_unchecked(address: IpAddr, prefix: u8) -> Self {
        Self { address, prefix }
    }

    /// One address.
    pub fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// First address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The address as the tables have it.
    pub fn mapped_address(&self) -> Address {
        Address::from(self.address)
    }

    /// Prefix length in the 128-bit form: IPv4 counts from 96.
    pub fn mapped_prefix(&self) -> u8 {
        if self.address.is_ipv4() { MAPPED_BITS + self.prefix } else { self.prefix }
    }

    /// True for a single address.
    pub fn is_host(&self) -> bool {
        self.mapped_prefix() == 128
    }

    /// Whether an address is in it. IPv4 and IPv6 are never in each other's networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4()
            && Self { address, prefix: self.prefix }.mask().address == self.address
    }

    /// Whether another network is in it, or is the same.
    pub fn holds(&self, other: &Self) -> bool {
        other.prefix >= self.prefix && self.contains(other.address)
    }

    /// Leading bits that an address of the same family shares with it.
    pub fn common_bits(&self, address: IpAddr) -> u8 {
        let bits = match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            _ => 0,
        };
        (bits as u8).min(self.prefix)
    }

    /// Whether the 128-bit form of this IPv6 network holds the addresses of IPv4.
    pub(crate) fn covers_mapped(&self) -> bool {
        let IpAddr::V6(base) = self.address else { return false };
        let mapped = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
        self.prefix < MAPPED_BITS && base.to_bits() == mapped.to_bits() & mask_v6(self.prefix)
    }

    fn canonical(self) -> Self {
        let IpAddr::V6(v6) = self.address else { return self };
        match v6.to_ipv4_mapped() {
            Some(v4) if self.prefix >= MAPPED_BITS => {
                Self { address: IpAddr::V4(v4), prefix: self.prefix - MAPPED_BITS }
            }
            _ => self,
        }
    }

    fn mask(self) -> Self {
        let address = match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask_v6(self.prefix))),
        };
        Self { address, ..self }
    }
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

fn not_an_address(text: &str, head: &str) -> Fault {
    let fault = Fault::new(Code::BadNetwork, format!("`{text}` is not an address or network"));
    if let Some((plain, _)) = head.split_once('%') {
        return fault.hint(format!("zones are not part of a policy: write {plain}"));
    }
    if let Some((host, port)) = head.rsplit_once("]:") {
        let host = host.trim_start_matches('[');
        return fault.hint(format!("write \"{host}\", and `ports: [{port}]` beside the list"));
    }
    if head.contains(':') {
        return fault.hint("an IPv6 network is written like \"2001:db8::/32\"");
    }
    fault.hint("an IPv4 network is written like 10.0.0.0/8, four numbers from 0 to 255")
}

fn parse_prefix(text: &str, prefix: &str, bits: u8) -> Result<u8, Fault> {
    let refuse = || {
        let message = format!("`{text}`: the prefix length is a number from 0 to {bits}");
        let hint = format!("write it like /{}; masks such as /255.0.0.0 are not read", bits - 8);
        Fault::new(Code::BadNetwork, message).hint(hint)
    };
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refuse());
    }
    prefix.parse().ok().filter(|number| *number <= bits).ok_or_else(refuse)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            return self.address.fmt(f);
        }
        write!(f, "{}/{}", self.address, self.prefix)
    }
}
