//! The lab's private CA and the servers' certificate.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::site;

/// A CA that exists for one lab.
#[derive(Debug)]
pub struct Authority {
    path: PathBuf,
    server: Arc<ServerConfig>,
}

impl Authority {
    /// Makes a CA, writes its certificate below `directory`, and signs one certificate for every
    /// name of the lab.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written or a certificate cannot be made.
    pub fn create(directory: &Path) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "governd lab");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let path = directory.join("ca.pem");
        fs::write(&path, certificate.pem())
            .with_context(|| format!("writing {}", path.display()))?;
        let server = Arc::new(server(&Issuer::new(params, key))?);
        Ok(Self { path, server })
    }

    /// The CA certificate, PEM.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How a TLS server of the lab presents itself.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}

fn server(issuer: &Issuer<'_, KeyPair>) -> Result<ServerConfig> {
    let names: Vec<String> = site::ALL.iter().map(|site| site.name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    // Python refuses a chain whose leaf does not name its issuer's key.
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate: CertificateDer<'static> = params.signed_by(&key, issuer)?.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(config)
}
