//! The sink's keys and certificates: an authority of its own, the server's certificate, and those
//! of hosts. Whom a certificate belongs to is looked up by its fingerprint, so that one which the
//! store does not know opens nothing, whoever signed it.

mod change;

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::{Timestamp, ToSpan as _, Zoned};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SignatureAlgorithm,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::{
    RootCertStore, ServerConfig,
    client::verify_server_name,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::{ParsedCertificate, WebPkiClientVerifier},
};

pub use self::change::{begin, finish};
use super::{
    files,
    validity::{End, Whose},
    wire::SinkKeys,
};
use crate::audit::{
    checkpoint::SEED_BYTES,
    cosign::{Cosigner, Cosigners},
    tree::sha256,
};

const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const SERVER_CERTIFICATE: &str = "server.pem";
const SERVER_KEY: &str = "server.key";
const WITNESS_KEY: &str = "witness.key";
/// Key and certificate of the authority that is to replace the other one.
const NEXT: &str = "next.pem";
const CERTIFICATE_MARK: &str = "-----BEGIN CERTIFICATE-----";
const CA_NAME: &str = "governd sink";
const CA_DAYS: i64 = 3_650;
const SERVER_DAYS: i64 = 1_825;
const HOST_DAYS: i64 = 180;
/// A host's certificate is renewed when it is so old, in days: it has twice as long to do so.
const RENEW_DAYS: u64 = 60;
/// So many days later it is said that it was not.
const OVERDUE_DAYS: u64 = 7;
const DAY_S: u64 = 86_400;
/// An uncompressed point of P-256 (SEC 1, 2.3.3).
const POINT_BYTES: usize = 65;
const POINT_MARK: u8 = 4;

/// Why keys and certificates are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// There is a sink already.
    #[error("{} has a sink already", .0.display())]
    Exists(PathBuf),
    /// A file cannot be used.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS refuses the keys.
    #[error("TLS refuses the sink's keys: {0}")]
    Tls(String),
    /// A host's key is none.
    #[error("the public key is no P-256 point")]
    Point,
    /// No host reaches anything by this.
    #[error("`{0}` is neither a DNS name nor an address")]
    Name(String),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// One change at a time.
    #[error("the keys of the sink in {} are being replaced already", .0.display())]
    Changing(PathBuf),
    /// There is no change to finish.
    #[error("the keys of the sink in {} are not being replaced", .0.display())]
    NotChanging(PathBuf),
    /// Hosts would not take more.
    #[error("this sink had as many keys to cosign with as a sink may have")]
    TooMany,
}

impl AuthorityError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Exists(_) => "use it as it is, or name another directory with --dir",
            Self::File { .. } => "make a sink with `governd sink init`, or name its directory",
            Self::Certificate(_) | Self::Name(_) => {
                "name the sink by DNS names or addresses that hosts reach it by"
            }
            Self::Tls(_) => "restore the directory from a backup, or make a new sink",
            Self::Point => "enroll with the same version of governd as the sink's",
            Self::Randomness => "try again once the system has started",
            Self::Changing(_) => "finish that with `governd sink rotate-keys --finish`",
            Self::NotChanging(_) => "begin with `governd sink rotate-keys`",
            Self::TooMany => "make a new sink, and enroll the hosts there",
        }
    }
}

/// Keys and certificates of a sink.
pub struct Authority {
    current: Ca,
    /// What replaces it, in a while.
    next: Option<Ca>,
    cosigners: Cosigners,
    keys: SinkKeys,
    digest: String,
    server: Arc<ServerConfig>,
    /// What the server shows, in PEM.
    shown: String,
    ends: Vec<End>,
}

/// What signs certificates.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// In PEM.
    certificate: String,
    fingerprint: [u8; 32],
}

impl Ca {
    fn new(key: KeyPair) -> Result<Self, AuthorityError> {
        let certificate = ca_parameters().self_signed(&key)?;
        let fingerprint = fingerprint(certificate.der());
        let issuer = Issuer::new(ca_parameters(), key);
        Ok(Self { issuer, certificate: certificate.pem(), fingerprint })
    }

    /// Reads the text of a file; the certificate is in it, too, or it is this one.
    fn parse(path: &Path, text: &str, certificate: &str) -> Result<Self, AuthorityError> {
        let own = text.find(CERTIFICATE_MARK).and_then(|at| text.get(at..));
        let certificate = own.unwrap_or(certificate).to_owned();
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|error| {
            let source = io::Error::new(io::ErrorKind::InvalidData, error);
            AuthorityError::File { path: path.to_owned(), source }
        })?;
        let issuer = Issuer::new(ca_parameters(), KeyPair::from_pem(text)?);
        Ok(Self { issuer, fingerprint: fingerprint(&der), certificate })
    }

    fn is(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// For its file: the key, and behind it the certificate.
    fn text(&self) -> String {
        self.issuer.key().serialize_pem() + &self.certificate
    }

    /// Makes a host's certificate for so many days, in PEM, and its fingerprint.
    fn certify(
        &self,
        host: &str,
        point: &[u8],
        days: i64,
    ) -> Result<(String, [u8; 32]), AuthorityError> {
        let key: [u8; POINT_BYTES] = point.try_into().map_err(|_| AuthorityError::Point)?;
        if key.first() != Some(&POINT_MARK) {
            return Err(AuthorityError::Point);
        }
        let purpose = ExtendedKeyUsagePurpose::ClientAuth;
        let parameters = leaf_parameters(host, days, purpose);
        let certificate = parameters.signed_by(&HostKey(key), &self.issuer)?;
        Ok((certificate.pem(), fingerprint(certificate.der())))
    }
}

/// The key that a host made for its certificate.
struct HostKey([u8; POINT_BYTES]);

impl PublicKeyData for HostKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// Makes the keys and certificates of a new sink that hosts reach by these names.
///
/// # Errors
/// If there is one in the directory already, or files cannot be written.
pub fn create(directory: &Path, names: &[String]) -> Result<(), AuthorityError> {
    if file(directory, CA_KEY).exists() {
        return Err(AuthorityError::Exists(directory.to_owned()));
    }
    check_names(names)?;
    let failed = |source| AuthorityError::File { path: directory.to_owned(), source };
    files::make_directory(directory).map_err(failed)?;
    let cosigner = new_cosigner(names.first().map_or("governd-sink", String::as_str))?;
    let ca = Ca::new(KeyPair::generate()?)?;
    put(directory, WITNESS_KEY, &Cosigners::from(cosigner).secret())?;
    put(directory, CA_CERTIFICATE, &ca.certificate)?;
    put_server(directory, &ca.issuer, names, SERVER_DAYS)?;
    // The last: with it, a sink is there.
    put(directory, CA_KEY, &ca.text())
}

/// Whether there is a sink in a directory.
///
/// # Errors
/// If there is none.
pub fn exists(directory: &Path) -> Result<(), AuthorityError> {
    read(directory, CA_CERTIFICATE).map(drop)
}

/// Makes another key and certificate for the server, by which hosts reach it under these names; it
/// shows them from its next start on. Hosts need nothing: they know the authority.
///
/// # Errors
/// If there is no sink in the directory, or files cannot be written.
pub fn replace_server(directory: &Path, names: &[String]) -> Result<(), AuthorityError> {
    replace_server_for(directory, names, SERVER_DAYS)
}

/// The same for so many days from now.
pub(crate) fn replace_server_for(
    directory: &Path,
    names: &[String],
    days: i64,
) -> Result<(), AuthorityError> {
    check_names(names)?;
    put_server(directory, &Authority::open(directory)?.current.issuer, names, days)
}

fn check_names(names: &[String]) -> Result<(), AuthorityError> {
    let is_one = |name: &str| ServerName::try_from(name.trim_start_matches("*.")).is_ok();
    let wrong = names.iter().find(|name| !is_one(name));
    wrong.map_or(Ok(()), |wrong| Err(AuthorityError::Name(wrong.clone())))
}

fn file(directory: &Path, name: &str) -> PathBuf {
    directory.join(name)
}

fn put(directory: &Path, name: &str, text: &str) -> Result<(), AuthorityError> {
    let path = file(directory, name);
    files::write(&path, text).map_err(|source| AuthorityError::File { path, source })
}

fn put_server(
    directory: &Path,
    issuer: &Issuer<'_, KeyPair>,
    names: &[String],
    days: i64,
) -> Result<(), AuthorityError> {
    let (certificate, key) = server_pair(issuer, names, days)?;
    // Both in one step; the file of the key alone is what earlier versions read.
    put(directory, SERVER_CERTIFICATE, &format!("{certificate}{key}"))?;
    put(directory, SERVER_KEY, &key)
}

fn read(directory: &Path, name: &str) -> Result<String, AuthorityError> {
    let path = file(directory, name);
    std::fs::read_to_string(&path).map_err(|source| AuthorityError::File { path, source })
}

fn new_cosigner(name: &str) -> Result<Cosigner, AuthorityError> {
    let mut seed = [0; SEED_BYTES];
    SystemRandom::new().fill(&mut seed).map_err(|_| AuthorityError::Randomness)?;
    Cosigner::new(name, seed).map_err(|_| AuthorityError::Randomness)
}

fn cosigners(directory: &Path) -> Result<Cosigners, AuthorityError> {
    Cosigners::parse(&read(directory, WITNESS_KEY)?).map_err(|error| {
        let source = io::Error::new(io::ErrorKind::InvalidData, error);
        AuthorityError::File { path: file(directory, WITNESS_KEY), source }
    })
}

/// A certificate for the server and its key, in PEM.
fn server_pair(
    issuer: &Issuer<'_, KeyPair>,
    names: &[String],
    days: i64,
) -> Result<(String, String), AuthorityError> {
    let name = names.first().map_or(CA_NAME, String::as_str);
    let mut parameters = leaf_parameters(name, days, ExtendedKeyUsagePurpose::ServerAuth);
    parameters.subject_alt_names =
        names.iter().map(|name| alternative(name)).collect::<Result<_, _>>()?;
    let key = KeyPair::generate()?;
    Ok((parameters.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

impl Authority {
    /// Reads what [`create`] made.
    ///
    /// # Errors
    /// If files are missing or not what they should be.
    pub fn open(directory: &Path) -> Result<Self, AuthorityError> {
        let certificate = read(directory, CA_CERTIFICATE)?;
        let path = file(directory, CA_KEY);
        let current = Ca::parse(&path, &read(directory, CA_KEY)?, &certificate)?;
        let next = change::next(directory, &current)?;
        let cosigners = cosigners(directory)?;
        let trusted = next.as_ref().map_or("", |next| next.certificate.as_str());
        let mut keys = SinkKeys {
            ca: format!("{}{trusted}", current.certificate),
            witnesses: cosigners.witnesses().to_string(),
            cosigned: String::new(),
        };
        let digest = keys.digest();
        let now_s = Timestamp::now().as_second().unsigned_abs();
        keys.cosigned = cosigners.cosign(&SinkKeys::note(&digest), now_s);
        let chain = read(directory, SERVER_CERTIFICATE)?;
        // One that replaced another has its key behind it.
        let key = match PrivateKeyDer::from_pem_slice(chain.as_bytes()) {
            Ok(_) => chain.clone(),
            Err(_) => read(directory, SERVER_KEY)?,
        };
        let server = server_config(&keys.ca, &chain, &key).map_err(AuthorityError::Tls)?;
        let ends = [
            End::of_pem(Whose::Authority, &current.certificate),
            next.as_ref().and_then(|next| End::of_pem(Whose::NextAuthority, &next.certificate)),
            End::of_pem(Whose::Server, &chain),
        ];
        let (server, ends) = (Arc::new(server), ends.into_iter().flatten().collect());
        Ok(Self { current, next, cosigners, keys, digest, server, shown: chain, ends })
    }

    /// What hosts trust this sink by.
    pub fn keys(&self) -> &SinkKeys {
        &self.keys
    }

    /// What these keys are known by.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The fingerprint of the authority that is to replace the one in use, where there is one.
    pub fn next(&self) -> Option<&[u8; 32]> {
        self.next.as_ref().map(|next| &next.fingerprint)
    }

    /// What cosigns checkpoints.
    pub fn cosigners(&self) -> &Cosigners {
        &self.cosigners
    }

    /// When its certificates end; those of hosts they know themselves.
    pub fn ends(&self) -> &[End] {
        &self.ends
    }

    /// Whether hosts that reach the sink by a name take its certificate for it.
    pub fn is_known_as(&self, name: &ServerName<'_>) -> bool {
        CertificateDer::from_pem_slice(self.shown.as_bytes()).is_ok_and(|certificate| {
            let parsed = ParsedCertificate::try_from(&certificate);
            parsed.is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
        })
    }

    /// For the server's connections.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// Makes a host's certificate, in PEM, and its fingerprint.
    ///
    /// # Errors
    /// If the key is none.
    pub fn issue(&self, host: &str, point: &[u8]) -> Result<(String, [u8; 32]), AuthorityError> {
        self.certify(host, point, HOST_DAYS)
    }

    /// The same by the next authority, where there is one: for a host that trusts it.
    ///
    /// # Errors
    /// If the key is none.
    pub fn issue_next(
        &self,
        host: &str,
        point: &[u8],
    ) -> Result<(String, [u8; 32]), AuthorityError> {
        self.next.as_ref().unwrap_or(&self.current).certify(host, point, HOST_DAYS)
    }

    /// The same for so many days from now.
    pub(crate) fn certify(
        &self,
        host: &str,
        point: &[u8],
        days: i64,
    ) -> Result<(String, [u8; 32]), AuthorityError> {
        self.current.certify(host, point, days)
    }
}

/// Whether a host's certificate of an age should be renewed; times are in seconds since 1970.
pub const fn is_old(issued_s: u64, now_s: u64) -> bool {
    now_s.saturating_sub(issued_s) >= RENEW_DAYS * DAY_S
}

/// Whether a host's certificate that is valid for so long still should be another one by now: the
/// host tried for a week and more, or was away.
pub const fn is_overdue(left_s: u64) -> bool {
    left_s < (HOST_DAYS.unsigned_abs() - RENEW_DAYS - OVERDUE_DAYS) * DAY_S
}

/// What the store knows a certificate by.
pub fn fingerprint(der: &[u8]) -> [u8; 32] {
    sha256(&[der])
}

/// A key for a host's certificate: its PEM, and the public point.
///
/// # Errors
/// If none can be made.
pub fn host_key() -> Result<(String, Vec<u8>), AuthorityError> {
    let pair = KeyPair::generate()?;
    Ok((pair.serialize_pem(), pair.der_bytes().to_vec()))
}

fn ca_parameters() -> CertificateParams {
    let mut parameters = leaf_parameters(CA_NAME, CA_DAYS, ExtendedKeyUsagePurpose::ClientAuth);
    parameters.extended_key_usages.clear();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters
}

fn leaf_parameters(name: &str, days: i64, purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    parameters.distinguished_name = subject;
    parameters.extended_key_usages = vec![purpose];
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    set_validity(&mut parameters, days);
    parameters
}

/// Clocks of hosts may be behind, so it begins the day before.
fn set_validity(parameters: &mut CertificateParams, days: i64) {
    let now = Zoned::now();
    let date = |span: jiff::Span| {
        let then = now.checked_add(span).unwrap_or_else(|_| now.clone()).date();
        let (month, day) = (then.month().unsigned_abs(), then.day().unsigned_abs());
        rcgen::date_time_ymd(i32::from(then.year()), month, day)
    };
    parameters.not_before = date(-1.day());
    parameters.not_after = date(days.days());
}

fn alternative(name: &str) -> Result<SanType, rcgen::Error> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.to_owned().try_into()?)),
    }
}

/// Hosts show a certificate of the authority; who has none yet may only enroll.
fn server_config(ca: &str, chain: &str, key: &str) -> Result<ServerConfig, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let certificates = |pem: &str| {
        let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        found.map_err(|error| error.to_string())
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(ca)?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| text(&error))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| text(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(chain)?, key)
        .map_err(|error| text(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
