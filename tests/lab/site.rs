//! The names of the lab and their addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::client::Family;

/// A name and the number of its host: `10.77.0.N` and `fd77::N`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Site {
    /// The name; `*.` stands for every name below.
    pub name: &'static str,
    /// Last part of its IPv4 and IPv6 address.
    pub number: u8,
}

impl Site {
    /// Its IPv4 address.
    pub const fn v4(self) -> Ipv4Addr {
        v4(self.number)
    }

    /// Its IPv6 address.
    pub const fn v6(self) -> Ipv6Addr {
        v6(self.number)
    }

    /// Its address of one family; IPv4 for [`Family::Any`].
    pub const fn address(self, family: Family) -> IpAddr {
        match family {
            Family::V6 => IpAddr::V6(self.v6()),
            Family::V4 | Family::Any => IpAddr::V4(self.v4()),
        }
    }

    /// Both addresses.
    pub const fn addresses(self) -> [IpAddr; 2] {
        [IpAddr::V4(self.v4()), IpAddr::V6(self.v6())]
    }
}

/// IPv4 address of a host of the lab.
pub const fn v4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

/// IPv6 address of a host of the lab.
pub const fn v6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number as u16)
}

/// The client's host number.
pub const CLIENT: u8 = 1;
/// The resolver that answers A and AAAA.
pub const RESOLVER: u8 = 2;
/// The resolver that answers only A, asked over IPv4.
pub const RESOLVER_V4: u8 = 3;
/// The resolver that answers only AAAA, asked over IPv6.
pub const RESOLVER_V6: u8 = 4;

/// OpenAI's API.
pub const OPENAI: Site = Site { name: "api.openai.com", number: 11 };
/// Anthropic's API.
pub const ANTHROPIC: Site = Site { name: "api.anthropic.com", number: 12 };
/// Mistral's API.
pub const MISTRAL: Site = Site { name: "api.mistral.ai", number: 13 };
/// Amazon Bedrock in one region, which the catalogue knows by a pattern.
pub const BEDROCK: Site = Site { name: "bedrock-runtime.eu-west-1.amazonaws.com", number: 14 };
/// Somebody's resource at Azure OpenAI, likewise.
pub const AZURE: Site = Site { name: "some-team.openai.azure.com", number: 15 };
/// Vertex AI in one region, likewise.
pub const VERTEX: Site = Site { name: "europe-west4-aiplatform.googleapis.com", number: 16 };
/// A page on which people chat, in a browser.
pub const CHAT: Site = Site { name: "chatgpt.com", number: 17 };
/// A resolver that is asked by HTTPS.
pub const DOH: Site = Site { name: "dns.google", number: 18 };
/// Every name below a domain, but not the domain itself.
pub const TENANTS: Site = Site { name: "*.tenant.example", number: 20 };
/// The domain itself.
pub const TENANT_APEX: Site = Site { name: "tenant.example", number: 21 };
/// One of two customers of a content network: both have the same address.
pub const CDN_ONE: Site = Site { name: "one.cdn.example", number: 30 };
/// The other customer.
pub const CDN_TWO: Site = Site { name: "two.cdn.example", number: 30 };
/// A host for tests that change policies.
pub const LEFT: Site = Site { name: "left.example", number: 41 };
/// Another one.
pub const RIGHT: Site = Site { name: "right.example", number: 42 };
/// A third one.
pub const BOTH: Site = Site { name: "both.example", number: 43 };
/// Where stolen data goes.
pub const EXFIL: Site = Site { name: "exfil.example", number: 66 };

/// Every site.
pub const ALL: &[Site] = &[
    OPENAI,
    ANTHROPIC,
    MISTRAL,
    BEDROCK,
    AZURE,
    VERTEX,
    CHAT,
    DOH,
    TENANTS,
    TENANT_APEX,
    CDN_ONE,
    CDN_TWO,
    LEFT,
    RIGHT,
    BOTH,
    EXFIL,
];

/// HTTPS.
pub const PORT_HTTPS: u16 = 443;
/// HTTP.
pub const PORT_HTTP: u16 = 80;
/// Sends back what it gets, TCP and UDP.
pub const PORT_ECHO: u16 = 7;
/// TCP: accepts and closes at once.
pub const PORT_DISCARD: u16 = 9;
