//! The way to the sink: a host is let in with a token, and a thread of the daemon sends what the
//! log has and the sink lacks.
//!
//! The sink says how far it is, so nothing has to be remembered here. What it acknowledges comes
//! back as a receipt: the checkpoint with the sink's cosignature, which is kept beside the log.

pub mod client;
mod place;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL},
};
use serde::{Deserialize, Serialize};

use self::{client::Client, place::Place, worker::Worker};
use super::{clock, exporting::Stats, journal::Journal, trial_sink::TrialSink};
use crate::{
    audit::{
        cosign::{CosignError, Witnesses},
        keys::KeysError,
        log::{self, Disk, Progress, ReadError},
    },
    control::protocol::{CertificateStatus, ExporterStatus},
    sink::{
        authority::{self, AuthorityError},
        files,
        validity::End,
        wire::{self, Enroll, Enrolled},
    },
};

/// Where a host keeps what the sink gave it, in the state directory.
const DIRECTORY: &str = "sink";
/// Where a trial has a sink of its own, and in it what that gave the host.
const TRIAL: &str = "trial-sink";
const OF_TRIAL: &str = "host";
const LOG_DIRECTORY: &str = "log";
const ADDRESS: &str = "address";
const CA: &str = "ca.pem";
/// The host's certificate and its key: one file, so that they are always of each other.
const IDENTITY: &str = "identity.pem";
const WITNESS: &str = "witness.pub";
const RECEIPT: &str = "receipt";
/// What the sink is called among the exporters.
const KIND: &str = "sink";

/// When the certificates end that the way to the sink needs; its thread writes, others read.
type Ends = ArcSwap<Vec<End>>;

/// What a token says, before it is encoded.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Ticket {
    /// Name or address of the sink, and port.
    sink: String,
    /// The sink's authority, in PEM: nobody else is talked to.
    ca: String,
    /// What the sink knows the token by.
    secret: String,
}

/// Why there is no way to the sink.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The text is no token.
    #[error("this is no token of a sink")]
    Token,
    /// A file cannot be used.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log has no key.
    #[error("this host has no log yet")]
    Log(#[from] ReadError),
    /// Its keys do not follow each other.
    #[error("this host's log is not what it signed")]
    Keys(#[from] KeysError),
    /// No key or connection can be had.
    #[error("cannot make a key")]
    Key(#[from] AuthorityError),
    /// The connection cannot be set up.
    #[error("what the sink gave cannot be used: {0}")]
    Tls(String),
    /// The sink cannot be reached, or refuses.
    #[error("{0}")]
    Sink(String),
    /// What the sink says of itself is no key.
    #[error("what the sink gave cannot be used")]
    Witness(#[from] CosignError),
}

impl UplinkError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Token => "take the whole line that `governd sink token` printed",
            Self::File { .. } => "run it as root, or name the state directory with --state-dir",
            Self::Log(_) => "start governd once, which makes the log and its key",
            Self::Keys(_) => "`governd audit verify` says what is wrong with it",
            Self::Key(_) => "try again once the system has started",
            Self::Tls(_) | Self::Witness(_) => "enroll again with a new token",
            Self::Sink(_) => "check that the sink runs and that the token is new and unused",
        }
    }
}

/// What a host presents to be let in by the sink at an address.
pub fn token(sink: &str, ca: &str, secret: &str) -> String {
    let ticket = Ticket { sink: sink.into(), ca: ca.into(), secret: secret.into() };
    BASE64URL.encode(serde_json::to_string(&ticket).unwrap_or_default())
}

/// Exchanges a token for a certificate, and gives the sink's address.
///
/// # Errors
/// The token is none, the sink refuses, or files cannot be written.
pub fn enroll(state_dir: &Path, token: &str) -> Result<String, UplinkError> {
    let bytes = BASE64URL.decode(token.trim()).map_err(|_| UplinkError::Token)?;
    let ticket = serde_json::from_slice(&bytes).map_err(|_| UplinkError::Token)?;
    let Ticket { sink, ca, secret } = ticket;
    let log = state_dir.join(LOG_DIRECTORY);
    let known = log::public_key(&Disk, &log)?;
    let keys = log::keys(&Disk, &log, &known)?;
    let (log_key, rotations) = (known.to_string(), keys?.to_string());
    let (key, point) = authority::host_key()?;
    let public_key = BASE64.encode(point);
    let mut client = Client::new(&sink, &ca, None).map_err(UplinkError::Tls)?;
    let request =
        serde_json::to_vec(&Enroll { secret, log_key, rotations, public_key }).unwrap_or_default();
    let answer = client.post(wire::ENROLL, request);
    let Enrolled { certificate, witness } =
        answer.map_err(|trouble| UplinkError::Sink(trouble.to_string()))?;
    Witnesses::parse(&witness)?;
    let identity = certificate + &key;
    let given = Given { sink, ca, witnesses: witness, identity };
    keep(&state_dir.join(DIRECTORY), &given)?;
    Ok(given.sink)
}

/// What a sink gives a host that it lets in.
pub(super) struct Given {
    pub(super) sink: String,
    pub(super) ca: String,
    pub(super) witnesses: String,
    pub(super) identity: String,
}

/// Keeps it.
pub(super) fn keep(directory: &Path, given: &Given) -> Result<(), UplinkError> {
    let Given { sink, ca, witnesses, identity } = given;
    let file = |path: PathBuf| |source| UplinkError::File { path, source };
    files::make_directory(directory).map_err(file(directory.to_owned()))?;
    // The address last: with it the host is enrolled.
    for (name, text) in [(IDENTITY, identity), (CA, ca), (WITNESS, witnesses), (ADDRESS, sink)] {
        let path = directory.join(name);
        files::write(&path, text).map_err(file(path))?;
    }
    Ok(())
}

/// Where a trial has a sink of its own.
pub(super) fn trial(state_dir: &Path) -> PathBuf {
    state_dir.join(TRIAL)
}

/// What that gave the host.
pub(super) fn of_trial(state_dir: &Path) -> PathBuf {
    trial(state_dir).join(OF_TRIAL)
}

/// Whether a sink takes this host's log.
pub fn is_enrolled(state_dir: &Path) -> bool {
    state_dir.join(DIRECTORY).join(ADDRESS).exists()
}

/// When the certificates end that lie here for the way to the sink; `None` where there is no sink.
///
/// # Errors
/// What the sink gave cannot be used.
pub fn ends(state_dir: &Path) -> Result<Option<Vec<End>>, UplinkError> {
    Ok(Place::open(state_dir.join(DIRECTORY))?.map(|place| place.ends()))
}

/// What the sink said last: the receipt, and the keys by which it cosigns. `None` where there is
/// none yet.
///
/// # Errors
/// Files cannot be read, or are not what they should be.
pub fn receipt(state_dir: &Path) -> Result<Option<(String, Witnesses)>, UplinkError> {
    let is_enrolled = is_enrolled(state_dir);
    let directory = if is_enrolled { state_dir.join(DIRECTORY) } else { of_trial(state_dir) };
    match read(&directory, RECEIPT) {
        Ok(receipt) => {
            let witnesses = Witnesses::parse(&read(&directory, WITNESS)?)?;
            Ok(Some((receipt, witnesses)))
        }
        Err(UplinkError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn read(directory: &Path, name: &str) -> Result<String, UplinkError> {
    let path = directory.join(name);
    fs::read_to_string(&path).map_err(|source| UplinkError::File { path, source })
}

/// A thread that sends; it ends with this value, at the latest when its request does.
pub struct Uplink {
    stats: Arc<Stats>,
    ends: Arc<Ends>,
    progress: Progress,
    /// Where the sink is part of this process.
    trial: Option<TrialSink>,
    /// Dropped when it should end.
    _stop: mpsc::Sender<()>,
}

impl Uplink {
    /// Starts it, if the host is enrolled. What is enforced and recorded here does not depend on
    /// it, so what is wrong with it is only said.
    pub(super) fn start_if_enrolled(state_dir: &Path, journal: &Journal) -> Option<Self> {
        Self::start(state_dir, journal).unwrap_or_else(|error| {
            let hint = error.hint();
            tracing::error!(error = &error as &dyn std::error::Error, hint, "no way to the sink");
            None
        })
    }

    /// Starts it, if the host is enrolled.
    ///
    /// # Errors
    /// What the sink gave cannot be used.
    fn start(state_dir: &Path, journal: &Journal) -> Result<Option<Self>, UplinkError> {
        Self::start_with(state_dir, journal, Duration::from_secs(wire::IDLE_S))
    }

    /// The same; nothing is sent for so long at most.
    fn start_with(
        state_dir: &Path,
        journal: &Journal,
        idle: Duration,
    ) -> Result<Option<Self>, UplinkError> {
        Self::start_at(state_dir.join(DIRECTORY), journal, idle, None)
    }

    /// The same with a sink that is part of this process, and gave the host this.
    ///
    /// # Errors
    /// What the sink gave cannot be used.
    pub(super) fn start_beside(
        directory: PathBuf,
        journal: &Journal,
        sink: TrialSink,
    ) -> Result<Option<Self>, UplinkError> {
        Self::start_at(directory, journal, Duration::from_secs(wire::IDLE_S), Some(sink))
    }

    fn start_at(
        directory: PathBuf,
        journal: &Journal,
        idle: Duration,
        trial: Option<TrialSink>,
    ) -> Result<Option<Self>, UplinkError> {
        let Some(place) = Place::open(directory.clone())? else {
            return Ok(None);
        };
        let (stats, progress) = (Arc::<Stats>::default(), journal.progress());
        let ends = Arc::new(Ends::from_pointee(place.ends()));
        let shared = (Arc::clone(&stats), Arc::clone(&ends));
        let worker = Worker::new(place, journal, idle, shared);
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("uplink".to_owned());
        thread
            .spawn(move || worker.run(&stopped))
            .map_err(|source| UplinkError::File { path: directory, source })?;
        Ok(Some(Self { stats, ends, progress, trial, _stop: stop }))
    }

    /// Where the sink has its records, where it is part of this process.
    pub(super) fn trial(&self) -> Option<&Path> {
        self.trial.as_ref().map(TrialSink::directory)
    }

    /// How it fares: as an exporter whose receiver is the sink.
    pub(super) fn status(&self) -> ExporterStatus {
        let now_s = clock::now_s();
        let ends = self.ends.load();
        let certificates = ends.iter().map(|end| CertificateStatus {
            whose: end.whose.word().to_owned(),
            left_s: end.left_s(now_s),
            warning: end.warning(now_s),
        });
        let certificates = certificates.collect();
        ExporterStatus { certificates, ..self.stats.status(KIND, KIND, &self.progress) }
    }
}

/// The cryptography of connections.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
