//! Requests to the sink.

use std::{fmt, time::Duration};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::de::DeserializeOwned;
use ureq::{
    Agent,
    tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig},
};

use crate::sink::wire::Refused;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may take in all: the sink makes it durable before it answers.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1_024;

/// Why a request came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The sink cannot be reached, or does not answer as a sink does.
    Unreachable(String),
    /// The sink refuses.
    Refused(Refused),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) => write!(f, "the sink cannot be reached: {reason}"),
            Self::Refused(Refused { error, .. }) => write!(f, "the sink refuses: {error}"),
        }
    }
}

/// Connections to one sink, and nobody else in its place.
pub(super) struct Client {
    agent: Agent,
    url: String,
}

impl Client {
    pub(super) fn new(sink: &str, ca: &str, own: Option<(&str, &str)>) -> Result<Self, String> {
        let certificates = |pem: &str| -> Result<Vec<Certificate<'static>>, String> {
            let found =
                CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
            let found = found.map_err(|error| error.to_string())?;
            Ok(found.iter().map(|der| Certificate::from_der(der).to_owned()).collect())
        };
        let own = match own {
            Some((chain, key)) => {
                let key =
                    PrivateKey::from_pem(key.as_bytes()).map_err(|error| error.to_string())?;
                Some(ClientCert::new_with_certs(&certificates(chain)?, key))
            }
            None => None,
        };
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(super::provider())
            .root_certs(RootCerts::new_with_certs(&certificates(ca)?))
            .client_cert(own)
            .build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(TIMEOUT))
            .tls_config(tls)
            .user_agent(concat!("governd/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, url: format!("https://{}", sink.trim()) })
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        read(self.agent.get(self.to(path)).call())
    }

    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T, Trouble> {
        read(self.agent.post(self.to(path)).send(body))
    }

    fn to(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

fn read<T: DeserializeOwned>(
    result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<T, Trouble> {
    let unreachable = |error: &dyn fmt::Display| Trouble::Unreachable(error.to_string());
    let mut answer = result.map_err(|error| unreachable(&error))?;
    let is_success = answer.status().is_success();
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let body = body.map_err(|error| unreachable(&error))?;
    if is_success {
        return serde_json::from_slice(&body).map_err(|error| unreachable(&error));
    }
    match serde_json::from_slice(&body) {
        Ok(refused) => Err(Trouble::Refused(refused)),
        Err(_) => Err(unreachable(&format_args!("it answers {}", answer.status()))),
    }
}
