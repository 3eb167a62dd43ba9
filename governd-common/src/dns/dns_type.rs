//! Record and question types (IANA "DNS parameters").

/// IPv4 address.
pub const A: u16 = 1;
/// Canonical name.
pub const CNAME: u16 = 5;
/// IPv6 address (RFC 3596).
pub const AAAA: u16 = 28;
/// Service binding (RFC 9460).
pub const SVCB: u16 = 64;
/// Service binding of HTTPS (RFC 9460).
pub const HTTPS: u16 = 65;
/// Every type.
pub const ANY: u16 = 255;

/// True for the types that lead to other names and hide names (RFC 9460, RFC 9849).
#[inline(always)]
pub const fn is_service_binding(kind: u16) -> bool {
    kind == SVCB || kind == HTTPS
}
