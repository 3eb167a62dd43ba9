//! Composition root: settings become an application, which runs until it is told to stop.
//!
//! Everything is built in the order in which it can fail for the user's reasons: log, policy,
//! kernel, control socket. From then on one task, the [`engine::Engine`], owns all state; the
//! journal's thread owns the log, and the control server only carries questions to the engine.

mod agents;
mod answers;
pub mod asked;
mod askers;
mod backoff;
pub mod bundle;
pub mod catalogue;
pub mod clock;
pub mod confinement;
mod connections;
mod controls;
mod cover;
mod declared;
mod digests;
mod discovery;
mod ending;
pub mod engine;
mod explain;
pub mod exporting;
pub mod flows;
mod frames;
mod gaps;
mod hits;
mod images;
mod influence;
mod inventory;
mod itself;
pub mod journal;
pub mod leftovers;
mod lifecycle;
mod limits;
pub mod metrics;
mod modes;
mod newcomers;
mod notices;
mod pressure;
mod proof;
mod quarantine;
mod quic;
mod recognition;
pub mod replay;
pub mod rulebook;
mod scripts;
mod second_look;
mod selftest;
pub mod sinking;
pub mod sources;
mod taken;
mod tampering;
mod tools;
mod trial_sink;
pub mod unattended;
mod unrecorded;
mod unseen;
pub mod uplink;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use governd_common::verdict::Mode;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{broadcast, mpsc},
    task::JoinSet,
};

use catalogue::{Catalogue, CatalogueError};
use controls::{ControlsError, ControlsFile};
use discovery::Discovery;
use ending::Ending;
use engine::{Engine, InstallError, Wakes};
use exporting::{ExportError, Exporting};
use journal::Journal;
use lifecycle::{LifecycleError, LifecycleFile};
use metrics::MetricsError;
use rulebook::{Rulebook, RulebookError};
use unseen::Watch;
use uplink::Uplink;

use crate::{
    audit::{
        checkpoint::Verifier,
        log::{Damage, Disk, KeeperOptions, Log, OpenError, Opened, Options},
        record::{
            Confidence, Context, Degraded, Finding, Lifecycle, Loss, LossSource, Phase, Record,
        },
    },
    catalog::Catalog,
    control::server::{Line, Server, ServerError},
    core::state::{Services, State},
    kernel::{self, KernelError, Lack, Offer},
    policy::{host::Host as _, ids::Ids, image::Compiled},
    settings::Settings,
    telemetry::service::{self, News},
    workload::{
        cgroup::CgroupTree,
        digest::Digests,
        host::{HostFacts, HostPaths},
        proc::ProcFs,
        sockets::{destroy::Destroyer, unseen::Lookout},
        table::ProcessTable,
    },
};

/// Version of the daemon.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// OCSF's highest severity.
const SEVERITY_FATAL: u8 = 6;
/// Requests that wait for the engine.
const CALLS_MAX: usize = 64;

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy cannot be read or is invalid.
    #[error("{0}")]
    Policy(RulebookError),
    /// The key that has to sign policies cannot be read.
    #[error("{} is no public key that signs policies", .0.display())]
    PolicyKey(PathBuf),
    /// The catalogue's additions cannot be read or are invalid.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The kernel side cannot be set up.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// Exporters cannot be set up.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The process may have too few file descriptors.
    #[error("governd may have {0} file descriptors, which is too few")]
    Descriptors(u64),
    /// A service governs the cgroup, with a daemon or without.
    #[error("a governd service enforces on {} already", .0.display())]
    Service(PathBuf),
    /// The control socket cannot be made.
    #[error(transparent)]
    Control(#[from] ServerError),
    /// The metrics cannot be served.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// What people decided cannot be read.
    #[error(transparent)]
    Controls(#[from] ControlsError),
    /// When approvals ended cannot be read.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// The system lacks something basic.
    #[error("cannot start")]
    System(#[from] io::Error),
}

impl From<InstallError> for StartError {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Rulebook(error) => Self::Policy(error),
            InstallError::Kernel(error) => Self::Kernel(error),
        }
    }
}

impl StartError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Policy(RulebookError::Source(error)) => error.hint().into(),
            Self::Policy(RulebookError::Bundle(error)) => error.hint().into(),
            Self::PolicyKey(_) => "name the .pub file of `governd policy sign --new-key`".into(),
            Self::Policy(RulebookError::Invalid(_)) => {
                "correct the policy; `governd policy check` shows the same without starting".into()
            }
            Self::Catalogue(error) => error.hint().into(),
            Self::Kernel(error) => error.hint().into(),
            Self::Log(error) => error.hint().into(),
            Self::Export(error) => error.hint().into(),
            Self::Descriptors(_) => kernel::DESCRIPTORS_HINT.into(),
            Self::Service(_) => {
                "`governd watch` shows what it decides; `governd stop --detach` ends it".into()
            }
            Self::Control(ServerError::InUse(_)) => {
                "stop that daemon, or name another socket with --socket".into()
            }
            Self::Control(ServerError::Bind { .. }) => {
                "run as root, or name a socket in a directory that you own with --socket".into()
            }
            Self::Metrics(_) => "name another address or socket with --metrics".into(),
            Self::Controls(error) => error.hint().into(),
            Self::Lifecycle(error) => error.hint().into(),
            Self::System(_) => return None,
        })
    }
}

/// A daemon that is ready to run: everything it decides is already decided in the kernel.
pub struct App {
    engine: Engine,
    wakes: Wakes,
    server: Server,
    metrics: Vec<metrics::Server>,
    calls: mpsc::Sender<crate::control::server::Call>,
    signals: Signals,
    state_dir: PathBuf,
    events: Option<broadcast::Receiver<Line>>,
}

#[derive(Debug)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn take() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }
}

impl App {
    /// Builds everything. When it returns, the policy is in force.
    ///
    /// # Errors
    /// What a [`StartError`] says. Whatever was set up until then is taken back.
    pub fn build(settings: &Settings) -> Result<Self, StartError> {
        let started = Instant::now();
        let offer = Offer::begin();
        // Before anything is attached, so that an early Ctrl-C is not the default one.
        let signals = Signals::take()?;
        let hangups = signal(SignalKind::hangup())?;
        let mount = kernel::cgroup::root()?;
        let paths = HostPaths::of_machine(mount.clone(), &settings.host_file);
        let host = HostFacts::read(&paths);
        let catalogue = Catalogue::open(&settings.catalog)?;
        let catalog = Arc::clone(catalogue.current());
        let (pins, ids) = ending::pins(settings)?;
        let server = Server::bind(&settings.socket, confinement::control_group())?;
        let (mut rulebook, lifecycle) = rulebook_of(settings, &catalog, ids)?;
        let controls = ControlsFile::open(settings, &host, &mut rulebook)?;
        // An invalid policy is refused before anything is touched.
        let policy = rulebook.compile(&host).map_err(StartError::Policy)?;
        let exporters = exporting::configured(settings)?;
        let offer = offer.end()?;
        let open = || open_journal(settings, &host, &offer.lacks());
        let ((journal, opened), mut kernel, frames) =
            ending::load_while(settings, &offer, pins, &policy, open)?;
        let shown = journal.events();
        let exporting =
            Exporting::start(exporters, policy.exporters.as_deref(), settings, &journal)?;
        let events = kernel.take_events().ok_or(KernelError::Missing("EVENTS"))?;
        let processes =
            ProcessTable::new(proc(), CgroupTree::new(&mount), Path::new("/etc/passwd"));
        let mut state = State::new(Arc::new(Compiled::default()), KnownServices::of(&catalog));
        state.set_lost(&kernel.recorded()?);
        let mut engine = Engine {
            kernel,
            frames,
            processes: processes.with_digests(Digests::start_or_idle(proc())),
            host,
            paths,
            rulebook,
            catalogue,
            state,
            uplink: start_uplink(settings, &journal),
            journal,
            exporting,
            discovery: Discovery::new(catalog, proc(), settings.pods.as_ref()),
            destroyer: Destroyer::spawn(proc())?,
            watch: Watch::new(Lookout::spawn(proc())?),
            quic: Default::default(),
            ending: Ending::of(settings),
            stopping: None,
            lost: Vec::new(),
            started,
            events: Default::default(),
            notices: Default::default(),
            pressure: Default::default(),
            taken: None,
            proof: Default::default(),
            itself: Default::default(),
            selftests: Default::default(),
            controls,
            lifecycle,
        };
        engine.record_opened(&opened, &events);
        engine.put_first_in_force(policy)?;
        engine.kernel.persist()?;
        let metrics =
            settings.metrics.iter().map(metrics::Server::bind).collect::<Result<_, _>>()?;
        let (calls, queue) = mpsc::channel(CALLS_MAX);
        let wakes = engine.wakes(events, queue, hangups)?;
        let state_dir = settings.state_dir.clone();
        Ok(Self { engine, wakes, server, metrics, calls, signals, state_dir, events: Some(shown) })
    }

    /// Events since the log was opened. There is one such receiver: a second call gives `None`.
    pub fn take_events(&mut self) -> Option<broadcast::Receiver<Line>> {
        self.events.take()
    }

    /// The cgroup that the programs are attached to.
    pub fn cgroup(&self) -> &Path {
        self.engine.kernel.cgroup()
    }

    /// Where the sink of a trial has its records.
    pub fn trial_sink(&self) -> Option<&Path> {
        self.engine.uplink.as_ref().and_then(Uplink::trial)
    }

    /// Runs until a signal or a request ends it. A trial then takes everything out of the kernel; a
    /// service leaves it there unless it is told otherwise.
    ///
    /// # Errors
    /// The kernel's events cannot be read any more, or something cannot be taken out.
    pub async fn run(self) -> Result<(), KernelError> {
        let Self { mut engine, mut wakes, server, metrics, calls, mut signals, state_dir, events } =
            self;
        drop(events);
        let mut serving = JoinSet::new();
        for metrics in metrics {
            serving.spawn(metrics.serve(calls.clone()));
        }
        serving.spawn(server.serve(calls));
        let stop = async {
            tokio::select! {
                _ = signals.interrupt.recv() => "SIGINT",
                _ = signals.terminate.recv() => "SIGTERM",
            }
        };
        service::tell(News::Ready);
        engine.begin(&state_dir);
        let ended = engine.run(&mut wakes, stop).await;
        service::tell(News::Stopping);
        let reason = *ended.as_ref().unwrap_or(&"the kernel's events cannot be read");
        let detached = engine.end(&mut wakes.events, reason);
        // Not before: who asks it to end waits for the end of his connection.
        drop(serving);
        ended.and(detached)
    }
}

/// The way to the sink that takes this host's log; a trial brings one along where there is none.
fn start_uplink(settings: &Settings, journal: &Journal) -> Option<Uplink> {
    let Settings { state_dir, is_trial, .. } = settings;
    if *is_trial && !uplink::is_enrolled(state_dir) {
        return trial_sink::start(state_dir, journal);
    }
    Uplink::start_if_enrolled(state_dir, journal)
}

/// The policy that the settings name, not read yet, and when approvals end.
fn rulebook_of(
    settings: &Settings,
    catalog: &Catalog,
    ids: Ids,
) -> Result<(Rulebook, LifecycleFile), StartError> {
    let known = catalogue::known(catalog);
    let key = settings.policy_key.as_deref().map(policy_key).transpose()?;
    let rulebook = Rulebook::new(settings.policy.clone(), settings.mode, known);
    let mut rulebook = rulebook.with_ids(ids).requiring(key);
    let lifecycle = LifecycleFile::open(settings, &mut rulebook)?;
    Ok((rulebook, lifecycle))
}

/// The public key that signs policies of this host.
fn policy_key(path: &Path) -> Result<Verifier, StartError> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    Verifier::parse(text.trim_end()).map_err(|_| StartError::PolicyKey(path.to_path_buf()))
}

fn proc() -> ProcFs {
    ProcFs::new(Path::new("/proc"))
}

/// The catalogue, for records.
#[derive(Debug)]
struct KnownServices(Arc<Catalog>);

impl KnownServices {
    fn of(catalog: &Arc<Catalog>) -> Box<dyn Services> {
        Box::new(Self(Arc::clone(catalog)))
    }
}

impl Services for KnownServices {
    fn provider(&self, name: &str) -> Option<Arc<str>> {
        self.0.lookup_host(name).map(|endpoint| Arc::clone(&endpoint.provider))
    }
}

impl Engine {
    /// The policy is in force: who runs already is found.
    fn begin(&mut self, state_dir: &Path) {
        self.record_phase(Phase::Start);
        self.open_inventory(state_dir);
        self.await_scripts();
        self.discover_running();
    }

    fn record_phase(&self, phase: Phase) {
        let enforces = self.state.policy().agents.iter().any(|agent| agent.mode == Mode::Enforce);
        let lifecycle = Lifecycle {
            phase,
            pid: std::process::id(),
            mode: if enforces { Mode::Enforce } else { Mode::Monitor },
            policy: Some(self.state.policy_ref()),
        };
        self.journal.record(Record::Lifecycle(lifecycle), None);
    }

    fn record_opened(&self, opened: &Opened, events: &kernel::Events) {
        self.record_taken(events);
        if opened.cut_bytes > 0 {
            let loss = Loss {
                source: LossSource::TornTail,
                count: opened.cut_bytes,
                since_ms: clock::now_ms(),
                detail: None,
            };
            self.journal.record(Record::Loss(loss), None);
        }
        if let Some(damage) = &opened.damage {
            tracing::error!(first = damage.first, path = %damage.path.display(), "log is damaged");
            self.journal.record(Record::Finding(damaged(damage)), None);
        }
    }
}

/// Records that were durable are not what was written: somebody, or the disk, changed them.
fn damaged(damage: &Damage) -> Finding {
    let Damage { first, path } = damage;
    Finding {
        kind: "log-damaged".into(),
        uid: format!("log-damaged/{first}").into(),
        title: format!("the log is not what was written, from record {first} on").into(),
        severity: SEVERITY_FATAL,
        confidence: Confidence::High,
        first_seen_ms: clock::now_ms(),
        subject: None,
        actor: None,
        destination: None,
        evidence: vec![format!("{} does not fit its index or checkpoints", path.display())],
    }
}

fn open_journal(
    settings: &Settings,
    host: &HostFacts,
    lacks: &[Lack],
) -> Result<(Journal, Opened), StartError> {
    let directory = settings.state_dir.join("log");
    let (log, opened) = Log::open(Disk, Options::new(&directory))?;
    let context = context(host, lacks);
    // What a sink lacks stays, and nobody knows yet what that is.
    let needed = if uplink::is_enrolled(&settings.state_dir) { 0 } else { u64::MAX };
    let options = KeeperOptions { keep: settings.keep, needed, ..KeeperOptions::default() };
    Ok((Journal::start(log, directory, context, options)?, opened))
}

/// What every record of a host says.
fn context(host: &HostFacts, lacks: &[Lack]) -> Context {
    let text = |text: Option<&str>| text.unwrap_or("unknown").into();
    Context {
        hostname: host.name().into(),
        machine_id: host.machine_id().map(Arc::from),
        boot_id: text(host.boot_id()),
        booted_ms: clock::booted_ms(),
        kernel: text(host.kernel_release()),
        version: VERSION.into(),
        degraded: lacks.iter().map(|lack| degraded(*lack)).collect(),
    }
}

/// What a kernel lacks, as records say it.
fn degraded(lack: Lack) -> Degraded {
    tracing::warn!(what = lack.word(), detail = lack.detail(), "degraded by this kernel");
    Degraded { what: lack.word(), detail: lack.detail() }
}
