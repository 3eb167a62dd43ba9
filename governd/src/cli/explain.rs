//! `governd explain`: why a connection is or was allowed or denied, and whom to ask.

use std::net::{IpAddr, SocketAddr};

use clap::Args;

use super::{
    Outcome,
    exit::{Exit, Failure},
    flags::Socket,
    printer::Printer,
    status::failure,
    unwritable,
};
use crate::control::{
    client,
    protocol::{Destination, Explanation, Host, Request},
};

const PORT_HTTPS: u16 = 443;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

/// Flags of `governd explain`.
#[derive(Args, Debug)]
pub(super) struct Explain {
    /// Process to explain for.
    #[arg(required_unless_present = "last", requires = "destination")]
    pid: Option<u32>,
    /// Name or address, with an optional port (443 if absent): `api.openai.com`, `10.0.0.1:8080`,
    /// `[2001:db8::1]:443`.
    #[arg(value_name = "DEST", value_parser = parse_destination)]
    destination: Option<(Host, u16)>,
    /// Ask about UDP, not TCP.
    #[arg(long, conflicts_with = "last")]
    udp: bool,
    /// Explain the latest denial, or the latest decision if nothing was denied.
    #[arg(long, conflicts_with_all = ["pid", "destination"])]
    last: bool,
    /// With --last: only decisions about this agent.
    #[arg(long, value_name = "AGENT", requires = "last")]
    agent: Option<String>,
    #[command(flatten)]
    socket: Socket,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let socket = self.socket.socket.clone();
        let value = client::call(&socket, &self.request()).map_err(failure)?;
        let explanation: Explanation = serde_json::from_value(value.clone())
            .map_err(|error| Failure::plain(Exit::Internal, error))?;
        if printer.is_json() {
            printer.value(&value).map_err(unwritable)?;
        } else {
            for line in &explanation.words {
                printer.line(line).map_err(unwritable)?;
            }
        }
        Ok(if explanation.allowed { Exit::Yes } else { Exit::No })
    }

    fn request(self) -> Request {
        match (self.pid, self.destination) {
            (Some(pid), Some((host, port))) => {
                let protocol = if self.udp { PROTOCOL_UDP } else { PROTOCOL_TCP };
                Request::Explain { pid, destination: Destination { host, port, protocol } }
            }
            _ => Request::ExplainLast { agent: self.agent },
        }
    }
}

fn parse_destination(text: &str) -> Result<(Host, u16), String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((Host::Address(address.ip()), address.port()));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((Host::Address(address), PORT_HTTPS));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => {
            (name, port.parse().map_err(|_| format!("{port} is not a port (1 to 65535)"))?)
        }
        None => (text, PORT_HTTPS),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let plausible = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(plausible) {
        return Err("expected a host name or an address, with an optional :PORT".into());
    }
    Ok((Host::Name(name), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_names_or_addresses_with_an_optional_port() {
        let name = |text: &str| Host::Name(text.into());
        let address = |text: &str| Host::Address(text.parse().unwrap());
        let rows = [
            ("api.openai.com", name("api.openai.com"), 443),
            ("API.OpenAI.com.:8443", name("api.openai.com"), 8443),
            ("10.0.0.1", address("10.0.0.1"), 443),
            ("10.0.0.1:53", address("10.0.0.1"), 53),
            ("2001:db8::1", address("2001:db8::1"), 443),
            ("[2001:db8::1]:80", address("2001:db8::1"), 80),
        ];
        for (text, host, port) in rows {
            assert_eq!(parse_destination(text), Ok((host, port)), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in ["", ":443", "a b", "host:port", "host:70000", "https://x"] {
            assert!(parse_destination(text).is_err(), "{text}");
        }
    }
}
