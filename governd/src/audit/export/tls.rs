//! Certificates and keys that exporters are configured with.

use std::{fs, io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{SetUpError, config};

/// Whom to trust, and who we are.
pub(super) struct Identity {
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// Our certificates, and the key of the first in PEM.
    pub(super) own: Option<(Vec<CertificateDer<'static>>, Vec<u8>)>,
}

impl Identity {
    pub(super) fn read(exporter: &str, spec: &config::Tls) -> Result<Self, SetUpError> {
        let config::Tls { ca_file, cert_file, key_file } = spec;
        let certificates = |path: &Path| {
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            let read = read.map_err(io::Error::other).and_then(|found: Vec<_>| {
                let none = || io::Error::other("there is no certificate in it");
                (!found.is_empty()).then_some(found).ok_or_else(none)
            });
            read.map_err(|error| SetUpError::file(exporter, path, error))
        };
        let roots = match ca_file {
            Some(path) => certificates(path)?,
            // Whatever cannot be read of the host's own is not trusted.
            None => rustls_native_certs::load_native_certs().certs,
        };
        let own = match cert_file.as_deref().zip(key_file.as_deref()) {
            Some((cert, key)) => {
                let pem = fs::read(key).and_then(|pem| {
                    PrivateKeyDer::from_pem_slice(&pem).map_err(io::Error::other).map(|_| pem)
                });
                let pem = pem.map_err(|error| SetUpError::file(exporter, key, error))?;
                Some((certificates(cert)?, pem))
            }
            None => None,
        };
        Ok(Self { roots, own })
    }

    /// For a connection of TLS's own.
    pub(super) fn client(self, exporter: &str) -> Result<Arc<ClientConfig>, SetUpError> {
        let unusable = |error| SetUpError::unusable(exporter, error);
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.roots);
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots);
        Ok(Arc::new(match self.own {
            Some((chain, pem)) => {
                let key = PrivateKeyDer::from_pem_slice(&pem);
                let key = key.map_err(|error| SetUpError::unusable(exporter, error))?;
                builder.with_client_auth_cert(chain, key).map_err(unusable)?
            }
            None => builder.with_no_client_auth(),
        }))
    }
}

/// The cryptography of all connections.
pub(super) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
