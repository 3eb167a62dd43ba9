//! Feeds the inventory with what is seen, and turns what it finds into records.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use governd_common::{
    event::{FlowEvent, Hook, TrafficEvent},
    table::Task,
    verdict::Verdict,
};

use super::{
    KnownServices, clock, connections::Connections, declared::Declared, engine::Engine,
    images::Containers, scripts::Scripts, second_look::SecondLooks, tools::ToolFiles,
};
use crate::{
    audit::record::{Actor, Confidence, Finding, Record, Said},
    catalog::Catalog,
    core::{
        inventory::{Agent, Change, Contact, EndpointSeen, Instance, Inventory, Sighting, Traffic},
        process::Process,
    },
    store::Store,
    workload::{
        pods::PodSource,
        proc::{ProcFs, Stat, TICK_NS},
        program::Programs,
        sockets::{
            self,
            listeners::{Listener, Listeners},
            open::Meter,
        },
        table::Known,
    },
};

/// OCSF's severity of what somebody should look at.
const SEVERITY_MEDIUM: u8 = 3;

/// How often the states of all agents are looked at.
const REASSESS_INTERVAL_MS: u64 = 60_000;

/// The inventory, and where it looks up what events do not tell.
pub(super) struct Discovery {
    pub(super) inventory: Inventory,
    pub(super) store: Option<Store>,
    /// Whether it is on record that the store cannot be written.
    pub(super) is_store_failing: bool,
    /// Whether something was erased, and may be in copies in the file.
    pub(super) is_erased: bool,
    /// When the states of all agents are looked at next, in milliseconds since the epoch.
    reassess_ms: u64,
    pub(super) containers: Containers,
    /// Looks for those who begin to listen; `None` if the system gave no thread.
    listeners: Option<Listeners>,
    /// Measures open connections; `None` if the system gave no thread.
    pub(super) meter: Option<Meter>,
    pub(super) connections: Connections,
    pub(super) scripts: Scripts,
    pub(super) second_looks: SecondLooks,
    /// Looks at what interpreters run; `None` if the system gave no thread.
    pub(super) programs: Option<Programs>,
    /// The process (pid, start) that each agent's program was asked for last.
    pub(super) asked: HashMap<Arc<str>, (u32, u64)>,
    pub(super) proc: ProcFs,
    pub(super) tools: ToolFiles,
    /// The environment that was read last: events of one process come in rows.
    latest: Option<(Arc<Process>, Arc<[String]>)>,
}

impl Discovery {
    pub(super) fn new(catalog: Arc<Catalog>, proc: ProcFs, pods: Option<&PodSource>) -> Self {
        let listeners = Listeners::spawn(proc.clone());
        let listeners = listeners
            .inspect_err(|error| tracing::warn!(%error, "nobody looks for model servers"))
            .ok();
        if let Some(listeners) = &listeners {
            listeners.want(catalog.model_ports());
        }
        let meter = Meter::spawn(proc.clone());
        let meter =
            meter.inspect_err(|error| tracing::warn!(%error, "no bytes of open connections")).ok();
        let programs = Programs::start(proc.clone());
        let programs =
            programs.inspect_err(|error| tracing::warn!(%error, "no digests of scripts")).ok();
        let inventory = Inventory::new(catalog);
        Self {
            inventory,
            store: None,
            is_store_failing: false,
            is_erased: false,
            reassess_ms: 0,
            containers: Containers::new(pods),
            listeners,
            meter,
            connections: Connections::default(),
            scripts: Scripts::over(proc.clone()),
            second_looks: SecondLooks::default(),
            programs,
            asked: HashMap::new(),
            tools: ToolFiles::new(proc.clone()),
            proc,
            latest: None,
        }
    }

    /// What a process is; of one that already ran, also its environment and loaded modules.
    fn process(&mut self, actor: &Actor, subject: u32, already_ran: bool) -> Vec<Change> {
        let environment = if already_ran { self.environment(actor) } else { Arc::new([]) };
        let place = self.containers.place(actor);
        let sighting = sighting(actor, place.as_deref(), &environment, subject);
        let mut changes = self.inventory.observe_process(&sighting, clock::now_ms());
        if !already_ran {
            self.second_looks.begin(actor, subject, clock::now_ms());
        } else if is_python(&actor.process) {
            changes.extend(self.modules(actor, subject));
        }
        changes
    }

    /// What the modules that an interpreter has loaded say of it.
    pub(super) fn modules(&mut self, actor: &Actor, subject: u32) -> Vec<Change> {
        let modules = self.proc.python_modules(actor.process.pid);
        if modules.is_empty() || !self.proc.still_runs(&actor.process) {
            return Vec::new();
        }
        let environment = self.environment(actor);
        let place = self.containers.place(actor);
        let sighting = sighting(actor, place.as_deref(), &environment, subject);
        self.inventory.observe_modules(&sighting, &modules, clock::now_ms())
    }

    fn listener(&mut self, actor: &Actor, subject: u32, port: u16) -> Vec<Change> {
        let environment = self.environment(actor);
        let place = self.containers.place(actor);
        let sighting = sighting(actor, place.as_deref(), &environment, subject);
        self.inventory.observe_listener(&sighting, port, clock::now_ms())
    }

    pub(super) fn contact(
        &mut self,
        actor: &Actor,
        subject: u32,
        contact: &Contact<'_>,
    ) -> Vec<Change> {
        let environment = self.environment(actor);
        let place = self.containers.place(actor);
        let sighting = sighting(actor, place.as_deref(), &environment, subject);
        self.inventory.observe_contact(&sighting, contact, clock::now_ms())
    }

    /// What a connection gives away that its process is known for already.
    pub(super) fn hello(&mut self, actor: &Actor, contact: &Contact<'_>) -> Vec<Change> {
        let place = self.containers.place(actor);
        let sighting = sighting(actor, place.as_deref(), &[], 0);
        self.inventory.observe_hello(&sighting, contact, clock::now_ms())
    }

    /// Names of the variables in a process's environment; never their values.
    fn environment(&mut self, actor: &Actor) -> Arc<[String]> {
        if let Some((process, names)) = &self.latest
            && Arc::ptr_eq(process, &actor.process)
        {
            return Arc::clone(names);
        }
        let names = self.proc.environment_names(actor.process.pid);
        let names = names.filter(|_| self.proc.still_runs(&actor.process)).unwrap_or_default();
        let names: Arc<[String]> = names.into();
        self.latest = Some((Arc::clone(&actor.process), Arc::clone(&names)));
        names
    }

    /// Processes of agents that are gone: the kernel reports the end of governed ones only.
    fn forget_ended(&mut self) {
        let instances = self.inventory.agents().flat_map(|agent| &agent.instances);
        let ended: Vec<u32> = instances
            .filter(|instance| !self.proc.still_runs(&instance.actor.process))
            .map(|instance| instance.actor.process.pid)
            .collect();
        for pid in ended {
            self.inventory.observe_exit(pid);
        }
    }

    /// What /proc says of a process that still runs: a pid that was used again belongs to one that
    /// began later.
    pub(super) fn stat(&self, instance: &Instance) -> Option<Stat> {
        let process = &instance.actor.process;
        let latest_ns = process.started_ns.saturating_add(2 * TICK_NS);
        self.proc.stat(process.pid).filter(|stat| stat.started_ns <= latest_ns)
    }
}

impl Engine {
    /// Looks at everything that already runs, and at what it is connected to.
    pub(super) fn discover_running(&mut self) {
        let tasks = self.kernel.tasks().unwrap_or_else(|error| {
            tracing::warn!(%error, "governed processes cannot be listed");
            Vec::new()
        });
        let tasks: HashMap<u32, u32> =
            tasks.into_iter().map(|(tgid, task)| (tgid, self.registered(&task))).collect();
        let subject_of = |process: &Process| tasks.get(&process.pid).copied().unwrap_or(0);
        let mut changes = Vec::new();
        let running = self.processes.sweep();
        self.learn_images(&running);
        for Known { process, lineage } in running {
            let subject = subject_of(&process);
            let actor = Actor { process, lineage };
            changes.extend(self.discovery.process(&actor, subject, true));
        }
        for socket in sockets::tcp(&self.discovery.proc) {
            let Some(Known { process, lineage }) = self.processes.process(socket.pid) else {
                continue;
            };
            let subject = subject_of(&process);
            let actor = Actor { process, lineage };
            changes.extend(match socket.peer {
                None => self.discovery.listener(&actor, subject, socket.local.port()),
                Some(peer) => {
                    let (address, port) = (peer.ip(), peer.port());
                    let contact = Contact { name: None, address, port, is_denied: false };
                    self.discovery.contact(&actor, subject, &contact)
                }
            });
        }
        self.found(changes);
    }

    /// The agent that a tracked process is, whoever started it.
    fn registered(&self, task: &Task) -> u32 {
        self.state.policy().registered(task.subject)
    }

    /// A process executed a file, or one that ran already is an agent now.
    pub(super) fn discover_process(&mut self, actor: &Actor, subject: u32, already_ran: bool) {
        let subject = self.state.policy().registered(subject);
        let changes = self.discovery.process(actor, subject, already_ran);
        self.found(changes);
        self.want_digest(actor.process.pid);
        self.hold_new();
    }

    /// Another process of an agent that nobody registered and somebody quarantined may have begun.
    pub(super) fn hold_new(&mut self) {
        if !self.state.policy().held.is_empty()
            && let Err(error) = self.hold()
        {
            tracing::error!(%error, "processes of quarantined agents may get through");
        }
    }

    /// A process connects somewhere.
    pub(super) fn discover_contact(&mut self, event: &FlowEvent, actor: &Actor) {
        if [Hook::Frame, Hook::Option].map(|hook| hook as u16).contains(&event.header.hook) {
            // There is no destination that an inventory knows.
            return;
        }
        let subject = event.header.subject;
        let name = self.state.names.name(subject, event.address, event.set);
        let contact = Contact {
            name: name.as_deref(),
            address: IpAddr::from(event.address),
            port: event.port,
            is_denied: event.verdict == Verdict::Deny as u8,
        };
        let subject = self.state.policy().registered(self.known_by_now(subject, &actor.process));
        let changes = self.discovery.contact(actor, subject, &contact);
        self.found(changes);
        self.want_digest(actor.process.pid);
    }

    /// A connection began with a TLS hello that carries an encrypted one.
    pub(super) fn discover_encrypted_hello(
        &mut self,
        flow: &FlowEvent,
        said: &Said,
        actor: &Actor,
    ) {
        let contact = Contact {
            name: said.name.as_deref(),
            address: IpAddr::from(flow.address),
            port: flow.port,
            is_denied: flow.verdict == Verdict::Deny as u8,
        };
        let place = self.discovery.containers.place(actor);
        let subject = self.state.policy().registered(flow.header.subject);
        let sighting = sighting(actor, place.as_deref(), &[], subject);
        let inventory = &mut self.discovery.inventory;
        let changes = inventory.observe_encrypted_hello(&sighting, &contact, clock::now_ms());
        self.found(changes);
    }

    /// A connection ended.
    pub(super) fn discover_traffic(&mut self, event: &TrafficEvent, actor: &Actor) {
        let subject = event.header.subject;
        let name = self.state.names.name(subject, event.address, event.set);
        let contact = Contact {
            name: name.as_deref(),
            address: IpAddr::from(event.address),
            port: event.port,
            is_denied: false,
        };
        let traffic = Traffic { sent_bytes: event.sent, received_bytes: event.received };
        let traffic = self.discovery.connections.ended(event.cookie, traffic);
        let place = self.discovery.containers.place(actor);
        let subject = self.state.policy().registered(subject);
        let sighting = sighting(actor, place.as_deref(), &[], subject);
        let inventory = &mut self.discovery.inventory;
        inventory.observe_traffic(&sighting, &contact, traffic, clock::now_ms());
    }

    /// Processes that began to listen on a model server's port.
    pub(super) fn discover_listeners(&mut self) {
        let listeners = self.discovery.listeners.as_ref();
        let found: Vec<Listener> = listeners.iter().flat_map(|it| it.found()).collect();
        if found.is_empty() {
            return;
        }
        let tasks: HashMap<u32, Task> =
            self.kernel.tasks().unwrap_or_default().into_iter().collect();
        for Listener { pid, port } in found {
            let Some(Known { process, lineage }) = self.processes.process(pid) else { continue };
            let subject = tasks.get(&pid).map_or(0, |task| self.registered(task));
            let changes = self.discovery.listener(&Actor { process, lineage }, subject, port);
            self.found(changes);
            self.want_digest(pid);
        }
    }

    /// A governed process ended.
    pub(super) fn discover_exit(&mut self, pid: u32) {
        self.discovery.inventory.observe_exit(pid);
    }

    /// Reads the catalogue's additions again if they changed. Broken ones leave it as it is.
    pub(super) fn refresh_catalogue(&mut self) {
        match self.catalogue.refresh() {
            Ok(false) => {}
            Ok(true) => {
                let catalog = Arc::clone(self.catalogue.current());
                tracing::info!(endpoints = catalog.endpoints().len(), "catalogue read again");
                self.rulebook.set_known(super::catalogue::known(&catalog));
                self.state.set_services(KnownServices::of(&catalog));
                if let Some(listeners) = &self.discovery.listeners {
                    listeners.want(catalog.model_ports());
                }
                self.discovery.inventory.set_catalog(catalog);
            }
            Err(error) => {
                let lines = error.lines();
                tracing::error!(reason = lines.join("; "), "the catalogue stays as it is");
                let title = "additions to the catalogue cannot be used; it stays as it was";
                let finding = trouble("catalog-refused", title, lines);
                self.journal.record(Record::Finding(finding), None);
            }
        }
    }

    /// Another policy is in force.
    pub(super) fn discover_registered(&mut self) {
        let policy = Arc::clone(self.state.policy());
        let inventory = &mut self.discovery.inventory;
        let outside = inventory.agents().flat_map(Agent::outside);
        let declared = Declared::new(&policy.image, outside);
        let is_allowed = |subject, seen: &EndpointSeen| declared.allows(subject, seen);
        let now_ms = clock::now_ms();
        let mut changes = inventory.set_registered(&policy.agents, &is_allowed, now_ms);
        match self.kernel.tasks() {
            Ok(tasks) => {
                let own = |task: Task| policy.registered(task.subject);
                let subjects = tasks.into_iter().map(|(tgid, task)| (tgid, own(task))).collect();
                changes.extend(inventory.observe_subjects(&subjects, now_ms));
            }
            Err(error) => tracing::warn!(%error, "governed processes cannot be listed"),
        }
        self.found(changes);
    }

    /// Approvals end and agents go out of sight without an event.
    pub(super) fn discover_passing_of_time(&mut self) {
        let now_ms = clock::now_ms();
        if now_ms >= self.discovery.reassess_ms {
            self.discovery.reassess_ms = now_ms.saturating_add(REASSESS_INTERVAL_MS);
            let changes = self.discovery.inventory.reassess_all(now_ms);
            self.found(changes);
        }
    }

    /// Forgets processes that ended unseen.
    pub(super) fn discover_ended(&mut self) {
        self.discovery.forget_ended();
    }

    pub(super) fn found(&self, changes: Vec<Change>) {
        for change in changes {
            self.journal.record(Record::Finding(change.finding()), None);
        }
    }
}

/// Something of governd's own that somebody should look at.
pub(super) fn trouble(kind: &str, title: &str, evidence: Vec<String>) -> Finding {
    Finding {
        kind: kind.into(),
        uid: kind.into(),
        title: title.into(),
        severity: SEVERITY_MEDIUM,
        confidence: Confidence::High,
        first_seen_ms: clock::now_ms(),
        subject: None,
        actor: None,
        destination: None,
        evidence,
    }
}

pub(super) fn is_python(process: &Process) -> bool {
    let file = process.exe.as_ref().and_then(|exe| exe.path.file_name());
    file.is_some_and(|name| name.as_encoded_bytes().starts_with(b"python"))
}

fn sighting<'a>(
    actor: &'a Actor,
    place: Option<&'a str>,
    environment: &'a [String],
    subject: u32,
) -> Sighting<'a> {
    Sighting { actor, place, environment, subject }
}
