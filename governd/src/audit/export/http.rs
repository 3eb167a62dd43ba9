//! One request for each batch, over HTTP or HTTPS.

use std::{fs, path::PathBuf};

use ureq::{
    Agent,
    tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig},
};

use super::{Fault, SetUpError, TIMEOUT, config, tls};

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1_024;
/// Bytes of an answer that an error shows.
const SHOWN_CHARS_MAX: usize = 200;

pub(super) struct Client {
    agent: Agent,
    url: String,
    token_file: Option<PathBuf>,
}

impl Client {
    pub(super) fn new(
        exporter: &str,
        url: &str,
        token_file: Option<&PathBuf>,
        tls: &config::Tls,
    ) -> Result<Self, SetUpError> {
        let identity = tls::Identity::read(exporter, tls)?;
        let roots: Vec<_> =
            identity.roots.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let own = match &identity.own {
            Some((chain, pem)) => {
                let chain: Vec<_> =
                    chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
                let key = PrivateKey::from_pem(pem);
                let key = key.map_err(|error| SetUpError::unusable(exporter, error))?;
                Some(ClientCert::new_with_certs(&chain, key))
            }
            None => None,
        };
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(tls::provider())
            .root_certs(RootCerts::new_with_certs(&roots))
            .client_cert(own)
            .build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(TIMEOUT))
            .timeout_global(Some(TIMEOUT))
            .tls_config(tls)
            .user_agent(concat!("governd/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, url: url.to_owned(), token_file: token_file.cloned() })
    }

    /// Posts a body and gives what the other side answered, if it took the body.
    pub(super) fn post(
        &self,
        content_type: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        let mut request = self
            .agent
            .post(&self.url)
            .header("Content-Type", content_type)
            .header("Idempotency-Key", key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(path) = &self.token_file {
            let token = fs::read_to_string(path)
                .map_err(|error| Fault::later(&format!("cannot read {}", path.display()), error))?;
            let token = token.lines().next().unwrap_or_default().trim();
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let unreachable = |error| Fault::later(&format!("cannot reach {}", self.url), error);
        let mut answer = request.send(body).map_err(unreachable)?;
        let status = answer.status().as_u16();
        let read = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        if (200..300).contains(&status) {
            // It was taken; what was answered matters only where it can be read.
            return Ok(read.unwrap_or_default());
        }
        let shown = String::from_utf8_lossy(&read.unwrap_or_default())
            .chars()
            .map(|char| if char.is_control() { ' ' } else { char })
            .take(SHOWN_CHARS_MAX)
            .collect::<String>();
        let message = format!("{} answers {status} {}", self.url, shown.trim());
        Err(if is_final(status) { Fault::Never(message) } else { Fault::Later(message) })
    }
}

/// Whether an answer is about the body, so that the same body gets the same answer for ever. That
/// nobody is there, or that we may not, is what an operator mends.
const fn is_final(status: u16) -> bool {
    matches!(status, 400 | 413 | 415 | 422)
}
