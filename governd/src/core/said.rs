//! Names that connections said in their first bytes, by socket: a decision that follows is about
//! them.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use governd_common::{
    event::{FlowEvent, NameEvent, NameSource},
    http::HttpRefusal,
    tls::TlsRefusal,
};

use crate::audit::record::Said;

/// Connections whose names are kept.
const CONNECTIONS_MAX: usize = 4_096;

/// What connections said, by socket cookie.
#[derive(Debug, Default)]
pub struct SaidNames {
    by_cookie: HashMap<u64, Said>,
    oldest_first: VecDeque<u64>,
}

impl SaidNames {
    /// Takes in what a connection said; false if it said the same before, as with every request of
    /// a plaintext connection.
    pub fn observe(&mut self, event: &NameEvent) -> bool {
        self.keep(event.cookie, said(event))
    }

    /// Takes in what was read elsewhere of a connection; false if it was known.
    pub fn keep(&mut self, cookie: u64, said: Said) -> bool {
        if self.by_cookie.get(&cookie).is_some_and(|before| before.name == said.name) {
            return false;
        }
        if self.by_cookie.insert(cookie, said).is_none() {
            self.oldest_first.push_back(cookie);
            if self.oldest_first.len() > CONNECTIONS_MAX
                && let Some(oldest) = self.oldest_first.pop_front()
            {
                self.by_cookie.remove(&oldest);
            }
        }
        true
    }

    /// What the connection said last.
    pub fn of(&self, cookie: u64) -> Option<&Said> {
        self.by_cookie.get(&cookie)
    }
}

/// The decision about a name, as one about its destination.
pub fn flow(event: &NameEvent) -> FlowEvent {
    FlowEvent {
        header: event.header,
        address: event.address,
        port: event.port,
        protocol: event.protocol,
        verdict: event.verdict,
        reason: event.reason,
        mode: event.mode,
        family: 0,
        socket_type: 0,
        rule: event.rule,
        set: event.set,
        reserved: 0,
        cookie: event.cookie,
    }
}

/// What a connection said.
pub fn said(event: &NameEvent) -> Said {
    let bytes = event.name.get(..usize::from(event.name_len)).unwrap_or_default();
    let name = std::str::from_utf8(bytes).ok().filter(|name| !name.is_empty());
    let is_tls = event.source == NameSource::Tls as u8;
    let refusal = if is_tls {
        TlsRefusal::from_byte(event.refusal).map(TlsRefusal::word)
    } else {
        HttpRefusal::from_byte(event.refusal).map(HttpRefusal::word)
    };
    Said {
        source: if is_tls { "tls" } else { "http" },
        name: name.map(Arc::from),
        alpn: if is_tls { protocols(event) } else { Vec::new() },
        has_ech: is_tls && event.has_ech != 0,
        refusal,
    }
}

/// The protocols of an ALPN list, each after its length; the last one may be cut, and then does not
/// count.
fn protocols(event: &NameEvent) -> Vec<String> {
    let mut rest = event.alpn.get(..usize::from(event.alpn_len)).unwrap_or_default();
    let mut found = Vec::new();
    while let Some((len, after)) = rest.split_first()
        && let Some((protocol, after)) = after.split_at_checked(usize::from(*len))
    {
        found.push(protocol.escape_ascii().to_string());
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    fn event(cookie: u64, name: &str) -> NameEvent {
        let mut event = NameEvent::new_zeroed();
        event.cookie = cookie;
        event.source = NameSource::Tls as u8;
        event.name[..name.len()].copy_from_slice(name.as_bytes());
        event.name_len = name.len() as u16;
        event.alpn[..12].copy_from_slice(b"\x02h2\x08http/1.1");
        event.alpn_len = 12;
        event
    }

    #[test]
    fn a_name_is_news_once() {
        let mut names = SaidNames::default();
        assert!(names.observe(&event(1, "a.example")));
        assert!(!names.observe(&event(1, "a.example")));
        assert!(names.observe(&event(1, "b.example")));
        let said = names.of(1).unwrap();
        assert_eq!((said.name.as_deref(), said.source), (Some("b.example"), "tls"));
        assert_eq!(said.alpn, ["h2", "http/1.1"]);
    }

    #[test]
    fn a_cut_protocol_does_not_count() {
        let mut cut = event(1, "a.example");
        cut.alpn_len = 7;
        assert_eq!(said(&cut).alpn, ["h2"]);
    }

    #[test]
    fn the_oldest_connection_is_forgotten() {
        let mut names = SaidNames::default();
        for cookie in 0..=CONNECTIONS_MAX as u64 {
            assert!(names.observe(&event(cookie, "a.example")));
        }
        assert!(names.of(0).is_none() && names.of(1).is_some());
    }
}
