//! The owner of all state: takes in events, requests and the passing of time, one after another.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use governd_common::{
    event::{DnsEvent, EventHeader},
    verdict::Loss,
};
use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, mpsc, oneshot},
};

use super::{
    catalogue::Catalogue,
    clock,
    controls::ControlsFile,
    discovery::Discovery,
    ending::Ending,
    exporting::Exporting,
    frames::FrameGuard,
    influence::{self, Tracing, attached},
    itself::Itself,
    journal::Journal,
    lifecycle::LifecycleFile,
    pressure::Pressure,
    proof::Proof,
    quic::Quic,
    rulebook::{Rulebook, RulebookError},
    selftest::SelfTests,
    taken::Taken,
    unseen::Watch,
    uplink::Uplink,
};
use crate::{
    audit::record::Actor,
    control::{
        protocol::EventStatus,
        server::{Answer, Call},
    },
    core::{
        notices::Notices,
        state::{Command, Input, State},
    },
    kernel::{Events, Kernel, KernelError, RawEvent, Ticks},
    policy::{image::Compiled, tables::ImageTables},
    telemetry::service::{self, News},
    workload::{
        host::{HostFacts, HostPaths},
        sockets::destroy::{Destroyer, Doomed},
        table::{Known, ProcessTable},
    },
};

/// Why the daemon ends when it was asked to.
const ASKED: &str = "governd stop";
/// How often what was taken away is put back, and what was found of sockets that no program sees
/// is recorded. The ring is read each time, too, whatever has woken or not.
const TICK: Duration = Duration::from_millis(250);
/// Each so many ticks, files, cgroups and counters are looked at as well: once a second.
const TICKS_A_LOOK: u32 = 4;

/// Why a policy could not be put into force.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It could not be read or compiled.
    #[error(transparent)]
    Rulebook(#[from] RulebookError),
    /// The kernel did not take it.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Everything that the daemon owns.
pub struct Engine {
    pub(super) kernel: Kernel,
    pub(super) processes: ProcessTable,
    pub(super) host: HostFacts,
    pub(super) paths: HostPaths,
    pub(super) rulebook: Rulebook,
    pub(super) catalogue: Catalogue,
    pub(super) state: State,
    pub(super) journal: Journal,
    pub(super) exporting: Exporting,
    pub(super) uplink: Option<Uplink>,
    pub(super) discovery: Discovery,
    pub(super) destroyer: Destroyer,
    pub(super) watch: Watch,
    pub(super) quic: Quic,
    pub(super) frames: Option<FrameGuard>,
    pub(super) ending: Ending,
    /// Somebody asked for the end: what is dropped when it has come.
    pub(super) stopping: Option<oneshot::Sender<Answer>>,
    /// What was lost when it was last looked at: recorded, and durable by now.
    pub(super) lost: Vec<(Loss, u64)>,
    pub(super) started: Instant,
    pub(super) events: EventStatus,
    pub(super) notices: Notices,
    pub(super) pressure: Pressure,
    pub(super) taken: Option<Taken>,
    pub(super) proof: Proof,
    pub(super) itself: Itself,
    pub(super) selftests: SelfTests,
    pub(super) controls: ControlsFile,
    pub(super) lifecycle: LifecycleFile,
}

/// What wakes the engine.
#[derive(Debug)]
pub struct Wakes {
    /// The kernel's events.
    pub events: Events,
    /// Requests of the command line.
    pub calls: mpsc::Receiver<Call>,
    /// SIGHUP: read the policy again.
    pub hangups: tokio::signal::unix::Signal,
    /// SIGCONT: it was stopped.
    pub(super) continued: tokio::signal::unix::Signal,
    /// Somebody traces somebody.
    pub(super) tracing: Tracing,
    /// It is known what script somebody runs.
    pub(super) scripts: Arc<Notify>,
    /// Time passes.
    pub(super) ticks: Ticks,
}

impl Engine {
    /// What wakes it, with what of that is its own.
    ///
    /// # Errors
    /// A signal cannot be waited for.
    pub(super) fn wakes(
        &self,
        events: Events,
        calls: mpsc::Receiver<Call>,
        hangups: tokio::signal::unix::Signal,
    ) -> io::Result<Wakes> {
        Ok(Wakes {
            events,
            calls,
            hangups,
            continued: signal(SignalKind::from_raw(Signal::CONT.as_raw()))?,
            tracing: influence::listen(),
            scripts: self.discovery.scripts.news(),
            ticks: Ticks::begin(TICK)?,
        })
    }

    /// Works until `stop` completes; gives the reason that it completed with.
    ///
    /// # Errors
    /// The events cannot be read any more.
    pub async fn run(
        &mut self,
        wakes: &mut Wakes,
        stop: impl Future<Output = &'static str>,
    ) -> Result<&'static str, KernelError> {
        let mut ticks_left = 0;
        let mut stop = std::pin::pin!(stop);
        loop {
            let Wakes { events, calls, hangups, continued, tracing, scripts, ticks } = wakes;
            tokio::select! {
                reason = &mut stop => return Ok(reason),
                call = calls.recv() => {
                    if let Some(call) = call {
                        self.answer(call);
                    }
                    if self.stopping.is_some() {
                        return Ok(ASKED);
                    }
                }
                _ = hangups.recv() => self.reload(),
                _ = continued.recv() => self.was_stopped(),
                news = attached(tracing) => self.attached(news),
                () = scripts.notified() => self.take_scripts(),
                ticked = ticks.next() => {
                    ticked.map_err(KernelError::Ring)?;
                    self.mend();
                    self.look_for_unseen();
                    self.look_for_containers();
                    if ticks_left == 0 {
                        ticks_left = TICKS_A_LOOK;
                        self.look();
                        self.settle(events);
                    }
                    ticks_left -= 1;
                }
                read = events.batch(|event| self.event(event)) => {
                    self.events.read += read? as u64;
                    self.events.malformed = events.malformed();
                    self.settle(events);
                    // In a flood the next batch is there already: without this nobody else who is
                    // on this thread (signals, timers, the control socket) would get a turn.
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Reads what the ring still holds.
    pub fn drain(&mut self, events: &mut Events) {
        loop {
            match events.drain(|event| self.event(event)) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => return tracing::error!(%error, "the last events are not read"),
            }
        }
    }

    pub(super) fn event(&mut self, event: RawEvent) {
        self.watch.hear(&event);
        match event {
            // A trial of the daemon's own.
            RawEvent::Flow(event) if self.kernel.is_trial(event.cookie) => {}
            RawEvent::Flow(event) => {
                let actor = actor(self.processes.attribute(&event.header));
                self.discover_contact(&event, &actor);
                self.ask_for_grant(&event, &actor);
                self.look_at_limits(&event, &actor);
                self.step(Input::Flow(&event, actor));
            }
            RawEvent::Initial(event) => {
                let actor = actor(self.processes.attribute(&event.header));
                self.initial(&event, &actor);
            }
            RawEvent::Name(event) => {
                let actor = actor(self.processes.attribute(&event.header));
                if self.discover_name(&event, &actor) {
                    self.step(Input::Name(&event, actor));
                }
            }
            RawEvent::Dns(event) if event.reason != 0 => {
                let actor = actor(self.processes.attribute(&event.header));
                self.step(Input::Query(&event, actor));
            }
            RawEvent::Dns(event) => {
                let actor = self.asker(&event);
                self.step(Input::Dns(&event, actor));
            }
            RawEvent::Exec(event) => {
                let EventHeader { tgid, subject, root, .. } = event.header;
                self.watch.tracers.begin(tgid, subject, root);
                self.guard_frames(event.header.tgid, event.header.subject);
                let known = self.processes.exec(&event);
                let untracked = event.header.subject == 0;
                let exe = known.process.exe.as_ref().map(|exe| exe.path.clone());
                let is_asked = self.ask_script(&known, event.header);
                let actor = actor(known);
                if subject != 0 || !is_asked {
                    self.discover_process(&actor, subject, false);
                }
                self.step(Input::Exec(&event.header, actor));
                if let Some(exe) =
                    exe.filter(|exe| untracked && self.rulebook.names_executable(exe))
                {
                    self.replaced(&exe);
                }
            }
            RawEvent::Path(event) => {
                let actor = actor(self.processes.attribute(&event.header));
                self.step(Input::Path(&event, actor));
            }
            RawEvent::Traffic(event) => {
                let actor = actor(self.processes.attribute(&event.header));
                self.discover_traffic(&event, &actor);
            }
            RawEvent::Influence(event) => self.influence(&event),
            RawEvent::Fork(event) => {
                let EventHeader { subject, root, .. } = event.header;
                self.watch.tracers.begin(event.child, subject, root);
                self.processes.fork(&event);
            }
            RawEvent::Exit(event) => {
                self.watch.tracers.end(event.header.tgid);
                self.processes.exit(&event);
                self.discover_exit(event.header.tgid);
            }
        }
    }

    fn asker(&mut self, event: &DnsEvent) -> Option<Actor> {
        (event.header.tgid != 0).then(|| actor(self.processes.attribute(&event.header)))
    }

    /// An agent's executable ran, and the kernel did not know it: the file was replaced.
    fn replaced(&mut self, exe: &std::path::Path) {
        self.read_host();
        if self.rulebook.is_stale(&self.host) {
            tracing::info!(exe = %exe.display(), "an agent's executable was replaced");
            self.reload();
        }
    }

    pub(super) fn step(&mut self, input: Input<'_>) {
        for command in self.state.step(input) {
            match command {
                Command::Record(record, time_ns) => {
                    self.look_at_notices(&record);
                    let queued = self.journal.queued();
                    if let Some(record) = self.pressure.take(record, time_ns, queued) {
                        self.journal.record(record, time_ns);
                    }
                }
                Command::Destroy { cookie, protocol, port, tgid } => {
                    self.destroyer.destroy(Doomed { cookie, protocol, port, tgid });
                }
            }
        }
    }

    /// Records the decisions that were put together.
    fn release_pressure(&mut self, queued: u64) {
        for (record, time_ns) in self.pressure.release(queued) {
            self.journal.record(record, Some(time_ns));
        }
    }

    /// The same at the end, when the log may take its time.
    pub(super) fn release_last(&mut self) {
        if !self.pressure.is_empty() {
            self.journal.settle();
            // The queue has room for them even if the log is still behind.
            self.release_pressure(0);
        }
    }

    fn look(&mut self) {
        service::tell(News::Alive);
        self.prove();
        self.look_for_strangers_entries();
        self.look_at_itself();
        self.release_pressure(self.journal.queued());
        match self.kernel.lost() {
            Ok(lost) => self.lost(lost),
            Err(error) => tracing::warn!(%error, "loss counters cannot be read"),
        }
        self.pass_controls();
        self.pass_notices(false);
        self.keep_rule_hits(false);
        self.follow_log();
        self.selftest_if_due();
        self.step(Input::Undestroyed(self.destroyer.failed(), clock::now_ms()));
        self.discover_ended();
        self.discover_listeners();
        self.discover_open();
        self.hold_new();
        self.take_images();
        self.take_digests();
        self.discover_tools();
        self.look_again();
        self.track_again();
        self.discover_passing_of_time();
        self.save_inventory();
        self.refresh_catalogue();
        self.pass_approvals();
        if !self.host.is_current(&self.paths) {
            self.read_host();
        }
        if self.rulebook.is_stale(&self.host) {
            self.reload();
        }
    }

    fn lost(&mut self, lost: Vec<(Loss, u64)>) {
        let now_ms = clock::now_ms();
        if lost != self.lost {
            self.watch.expect_changes();
        }
        self.step(Input::Lost(&lost, now_ms));
        for (loss, count) in std::mem::replace(&mut self.lost, lost) {
            if let Err(error) = self.kernel.set_recorded(loss, count, now_ms) {
                tracing::warn!(%error, "a loss may be recorded twice");
            }
        }
    }

    /// Reads the policy again. A policy that is invalid leaves the one in force.
    pub(super) fn reload(&mut self) {
        self.read_host();
        if let Err(error) = self.install() {
            let errors = match &error {
                InstallError::Rulebook(error) => error.lines(),
                InstallError::Kernel(error) => vec![error.to_string()],
            };
            tracing::error!(reason = errors.join("; "), "the new policy is not in force");
            let sources = self.rulebook.files().to_vec();
            self.step(Input::Refused { errors, sources });
        }
    }

    /// Compiles the policy for the host as it is and puts it into force.
    ///
    /// # Errors
    /// The policy cannot be compiled or the kernel does not take it; the one before stays.
    pub(super) fn install(&mut self) -> Result<(), InstallError> {
        let policy = self.rulebook.compile(&self.host)?;
        let current = self.state.policy();
        // Tiers and approvals are for people: the tables may be the same.
        let is_same = current.image == policy.image
            && current.digest == policy.digest
            && current.rules == policy.rules
            && current.agents == policy.agents
            && current.host_policy == policy.host_policy;
        if is_same {
            self.state.accept();
            return Ok(());
        }
        Ok(self.put_in_force(policy)?)
    }

    /// Puts a compiled policy into force.
    ///
    /// # Errors
    /// The kernel does not take it; the one before stays.
    pub(super) fn put_in_force(&mut self, policy: Arc<Compiled>) -> Result<(), KernelError> {
        let before = Arc::clone(self.state.policy());
        let unused = self.rulebook.forget_sets([&before, &policy]);
        self.kernel.forget_sets(&unused)?;
        self.kernel.keep_ids(self.rulebook.ids())?;
        let tables = ImageTables::new(&policy.image);
        let set_of = |name: &str| tables.name_set(name).unwrap_or(0);
        let moves = self.state.names.moves(clock::boot_ns(), set_of);
        self.apply_controls(&policy)?;
        self.kernel.rebind(&moves.during)?;
        self.begin_frames(&policy);
        self.begin_settling(&policy)?;
        let generation = self.kernel.install(&policy.image)?;
        if !moves.after.is_empty() {
            // They are wrong for the policy before.
            self.kernel.retire()?;
            self.kernel.rebind(&moves.after)?;
        }
        self.state.names.settle(set_of);
        let tracked = self.track(&policy);
        // Waits for the disk: who runs already is governed first.
        self.number_rules(generation, &policy);
        tracked?;
        self.watch.expect_changes();
        let sources = self.rulebook.files().to_vec();
        self.notices.install(&policy);
        self.step(Input::Installed { policy, generation, sources });
        self.judge_quic_again();
        self.discover_registered();
        self.tell_approvals(&before);
        self.exporting.choose(self.state.policy().exporters.as_deref(), &self.journal);
        self.prove();
        if let Err(error) = self.kernel.retire() {
            tracing::warn!(%error, "the policy before stays in the tables");
        }
        Ok(())
    }
}

pub(super) fn actor(known: Known) -> Actor {
    Actor { process: known.process, lineage: known.lineage }
}
