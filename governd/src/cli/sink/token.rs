//! `governd sink token`: what lets one host in, once.

use anyhow::anyhow;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use clap::Args;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::ServerName;

use super::{Place, failed, unusable};
use crate::{
    app::{clock, uplink},
    cli::{
        Outcome,
        exit::{Exit, Failure},
        printer::Printer,
        unwritable,
    },
    sink::authority::AuthorityError,
};

const SECRET_BYTES: usize = 32;
const HOUR_S: u64 = 3_600;
/// Longest name of a host in bytes: that of a DNS name.
const HOST_BYTES_MAX: usize = 253;

/// Flags of `governd sink token`.
#[derive(Args, Debug)]
pub(super) struct Token {
    #[command(flatten)]
    place: Place,
    /// Name of the host that may use it.
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    host: String,
    /// Name or address, and port, by which the host reaches this sink.
    #[arg(long, value_name = "NAME:PORT", value_parser = address)]
    sink: (String, ServerName<'static>),
    /// Hours after which it is not valid any more.
    #[arg(
        long,
        value_name = "HOURS",
        default_value_t = 24,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    hours: u32,
}

impl Token {
    pub(super) fn run(self) -> Outcome {
        let authority = self.place.authority()?;
        let (sink, name) = &self.sink;
        if !authority.is_known_as(name) {
            let name = name.to_str();
            let error = anyhow!("no host takes the sink's certificate for {name}: it is not in it");
            let hint = "`governd sink certify --name` makes one with each name that it is given";
            return Err(Failure::new(Exit::Environment, error, hint));
        }
        let mut secret = [0; SECRET_BYTES];
        SystemRandom::new().fill(&mut secret).map_err(|_| unusable(AuthorityError::Randomness))?;
        let secret = BASE64URL.encode(secret);
        let expires_s = clock::now_s().saturating_add(u64::from(self.hours) * HOUR_S);
        self.place.store()?.add_token(&secret, &self.host, expires_s).map_err(failed)?;
        let token = uplink::token(sink, &authority.keys().ca, &secret);
        Printer::new(false).line(token).map_err(unwritable)?;
        Ok(Exit::Yes)
    }
}

/// What tables, records and messages can show as one word.
fn host_name(text: &str) -> Result<String, String> {
    let is_shown = |c: char| !c.is_whitespace() && !c.is_control();
    match text.len() {
        1..=HOST_BYTES_MAX if text.chars().all(is_shown) => Ok(text.to_owned()),
        _ => Err(format!("a name has 1 to {HOST_BYTES_MAX} bytes, and no spaces")),
    }
}

/// A name or address and a port, and the former as certificates have it.
fn address(text: &str) -> Result<(String, ServerName<'static>), String> {
    let wrong = || "no name or address with a port, such as `sink.acme.example:7443`".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong())?;
    match port.parse::<u16>() {
        Ok(1..) => Ok((text.to_owned(), name)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::sink::Place, sink::authority};

    #[test]
    fn a_token_is_for_a_host_that_has_a_name_and_an_address_that_has_a_port() {
        for name in ["web-1", "web-1.acme.example", "é", &"x".repeat(HOST_BYTES_MAX)] {
            assert_eq!(host_name(name).as_deref(), Ok(name));
        }
        for name in ["", "web 1", "web-1\n", "\u{1b}[2J", &"x".repeat(HOST_BYTES_MAX + 1)] {
            assert!(host_name(name).is_err(), "{name:?}");
        }
        for (text, name) in [
            ("sink.acme.example:7443", "sink.acme.example"),
            ("192.0.2.7:1", "192.0.2.7"),
            ("[2001:db8::7]:7443", "2001:db8::7"),
        ] {
            let (whole, found) = address(text).unwrap();
            assert_eq!((whole.as_str(), found.to_str().as_ref()), (text, name));
        }
        let long = "sink.acme.example:74430";
        for text in ["", "sink", ":7443", "sink:", "sink:0", long, "a b:1", "https://sink:1"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_token_leads_to_a_name_that_the_certificate_does_not_have() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["sink.acme.example".to_owned(), "192.0.2.7".to_owned()];
        authority::create(directory.path(), &names).unwrap();
        let ask = |sink: &str| {
            let place = Place { dir: directory.path().to_owned() };
            let sink = address(sink).unwrap();
            Token { place, host: "web-1".to_owned(), sink, hours: 1 }.run()
        };
        for sink in ["sink.acme.example:7443", "SINK.acme.example:1", "192.0.2.7:7443"] {
            assert_eq!(ask(sink).unwrap(), Exit::Yes, "{sink}");
        }
        for sink in ["other.acme.example:7443", "192.0.2.8:7443"] {
            let failure = ask(sink).unwrap_err();
            assert_eq!(failure.exit, Exit::Environment, "{sink}");
            assert!(failure.hint.unwrap().contains("governd sink certify"), "{sink}");
        }
        for name in ["a b", "", "sink:7443"] {
            let wrong = authority::create(&directory.path().join("new"), &[name.to_owned()]);
            assert!(matches!(wrong, Err(AuthorityError::Name(_))), "{name}");
        }
        assert!(!directory.path().join("new").exists());
        let empty = tempfile::tempdir().unwrap();
        assert!(crate::cli::sink::open(empty.path()).is_err());
        assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
    }
}
