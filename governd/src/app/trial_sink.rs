//! A sink in the daemon's own process, for who tries governd: its keys are made at the first start,
//! the host is let in at each, and nobody has to make a certificate or a token. It listens on this
//! host alone. For whoever is root here it proves nothing; it shows what a sink elsewhere does.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tokio::{runtime::Builder, sync::oneshot};

use super::{
    clock,
    journal::Journal,
    sinking,
    uplink::{self, Given, Uplink, UplinkError},
};
use crate::{
    audit::log::{self, Disk, ReadError},
    sink::{
        authority::{self, Authority, AuthorityError},
        notice::Tell,
        server,
        store::{EnrollError, SILENT, Store, StoreError},
    },
};

/// What the sink calls the host, whatever others call it.
const HOST: &str = "this-host";
/// How long a token is good for that is used at once, in seconds.
const VALID_S: u64 = 60;

/// Why there is no such sink.
#[derive(Debug, thiserror::Error)]
enum TrialError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Enroll(#[from] EnrollError),
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("cannot listen on this host")]
    Listen(#[source] io::Error),
    #[error("the system gives no thread")]
    Thread(#[source] io::Error),
}

/// The sink, until this is dropped.
pub(super) struct TrialSink {
    directory: PathBuf,
    _stop: oneshot::Sender<()>,
}

impl TrialSink {
    /// Where it has its records.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Starts the sink and the way to it. What is watched and recorded does not depend on it, so what
/// is wrong with it is only said.
pub(super) fn start(state_dir: &Path, journal: &Journal) -> Option<Uplink> {
    let started = try_start(state_dir, journal);
    let directory = uplink::trial(state_dir);
    started
        .inspect_err(|error| {
            let error = error as &dyn std::error::Error;
            let hint = "remove the directory, and a new sink is made";
            tracing::warn!(error, directory = %directory.display(), hint, "no sink beside it");
        })
        .ok()
        .flatten()
}

fn try_start(state_dir: &Path, journal: &Journal) -> Result<Option<Uplink>, TrialError> {
    let directory = uplink::trial(state_dir);
    match authority::create(&directory, &[Ipv4Addr::LOCALHOST.to_string()]) {
        Ok(()) | Err(AuthorityError::Exists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let authority = Arc::new(Authority::open(&directory)?);
    let mut store = Store::open(&directory)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(TrialError::Listen)?;
    listener.set_nonblocking(true).map_err(TrialError::Listen)?;
    let address = listener.local_addr().map_err(TrialError::Listen)?;
    let given = let_in(&mut store, &authority, address, journal)?;
    let place = uplink::of_trial(state_dir);
    uplink::keep(&place, &given)?;
    let recorder = journal.recorder();
    let tell = sinking::tell(recorder);
    // A machine that slept is no host that went away.
    let tell: Tell = Arc::new(move |notice| {
        if notice.what != SILENT {
            tell(notice);
        }
    });
    let (stop, stopped) = oneshot::channel();
    let serve = move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::select! {
                served = server::serve(listener, authority, store, tell) => served,
                _ = stopped => Ok(()),
            }
        })
    };
    let thread = thread::Builder::new().name("sink".to_owned());
    let serve = move || {
        if let Err(error) = serve() {
            tracing::warn!(%error, "the sink beside the daemon ended");
        }
    };
    thread.spawn(serve).map_err(TrialError::Thread)?;
    let sink = TrialSink { directory, _stop: stop };
    Ok(Uplink::start_beside(place, journal, sink)?)
}

/// What a host would get for a token.
fn let_in(
    store: &mut Store,
    authority: &Authority,
    address: SocketAddr,
    journal: &Journal,
) -> Result<Given, TrialError> {
    let known = log::public_key(&Disk, journal.directory())?;
    let keys = log::keys(&Disk, journal.directory(), &known)?.map_err(UplinkError::from)?;
    let (key, point) = authority::host_key()?;
    let now_s = clock::now_s();
    // One that nobody else can use: it is of this log, and gone with the next line.
    let secret = BASE64.encode(&point);
    store.add_token(&secret, HOST, now_s + VALID_S)?;
    let certificate = store.enroll(&secret, &keys, now_s, |host| authority.issue(host, &point))?;
    Ok(Given {
        sink: address.to_string(),
        ca: authority.keys().ca.clone(),
        witnesses: authority.keys().witnesses.clone(),
        identity: certificate + &key,
    })
}
