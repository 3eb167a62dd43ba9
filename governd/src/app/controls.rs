//! What people decide at run time, carried out: written to disk, put into the kernel, recorded.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use governd_common::{
    event::FlowEvent,
    key::GrantKey,
    verdict::{Mode, Reason},
};

use super::{
    answers::{failed, ok},
    askers::Askers,
    clock,
    engine::{Engine, InstallError},
    hits::RuleHitsFile,
    limits::Told,
    rulebook::Rulebook,
};
use crate::{
    audit::record::{Actor, By, Control, Record, Ruling},
    control::{
        protocol::{ErrorKind, Reply, Request},
        server::Peer,
    },
    core::{
        controls::{Controls, Grant, Matter, Now},
        modes::Modes,
    },
    kernel::KernelError,
    policy::{
        image::Compiled,
        tables,
        value::{Target, name::HostPattern},
    },
    settings::{CONTROLS_FILE, Settings},
    workload::{host::HostFacts, users::Users},
};

/// Processes of a request that are kept, its own first.
const PROCESSES_MAX: usize = 8;
/// By what an agent is quarantined of which no event said so.
pub(super) const HALTED: &str = "a `halt` rule or limit";
/// What `/proc/PID/loginuid` says of who never logged in.
const NO_LOGIN: u32 = u32::MAX;

/// The controls and their file.
#[derive(Debug)]
pub(super) struct ControlsFile {
    pub(super) controls: Controls,
    /// Limits that were told of since start.
    pub(super) limits_told: Told,
    /// Subjects that were quarantined in the kernel at the last look.
    pub(super) halted: Vec<u32>,
    /// Agents that asked for a change.
    pub(super) askers: Askers,
    /// How often each rule decided.
    pub(super) rule_hits: RuleHitsFile,
    path: PathBuf,
    is_failing: bool,
}

/// What people decided cannot be read: starting without it would end quarantines.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct ControlsError {
    path: PathBuf,
    source: io::Error,
}

impl ControlsError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        "run as root on a working file system, or name another state directory with --state-dir; \
         a damaged file may be moved away, which ends grants and quarantines"
    }
}

impl ControlsFile {
    /// Reads the file, if there is one, and has the policy know what is granted.
    ///
    /// # Errors
    /// It cannot be read or is not what was written.
    pub(super) fn open(
        settings: &Settings,
        host: &HostFacts,
        rulebook: &mut Rulebook,
    ) -> Result<Self, ControlsError> {
        let path = settings.state_dir.join(CONTROLS_FILE);
        let read = match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Controls::default()),
            Err(error) => Err(error),
        };
        let read = read.map_err(|source| ControlsError { path: path.clone(), source })?;
        let controls = read.restored(host.boot_id().unwrap_or("unknown"), now());
        let rule_hits = RuleHitsFile::open(&settings.state_dir);
        let limits_told = Told::new();
        let (halted, askers) = (Vec::new(), Askers::default());
        let file =
            Self { controls, limits_told, halted, askers, rule_hits, path, is_failing: false };
        rulebook.set_granted(file.granted());
        rulebook.set_held(file.held());
        rulebook.set_modes(file.controls.modes().clone());
        Ok(file)
    }

    /// Keeps what modes are set.
    pub(super) fn set_modes(&mut self, modes: Modes) {
        self.controls.set_modes(modes);
        self.save();
    }

    /// Whether anything is quarantined.
    pub(super) fn has_quarantined(&self) -> bool {
        self.controls.quarantined().next().is_some()
    }

    /// Quarantined agents that nobody registered.
    pub(super) fn held(&self) -> Vec<Arc<str>> {
        self.controls.held().map(Arc::from).collect()
    }

    /// What agents were granted.
    fn granted(&self) -> Vec<(Arc<str>, Target)> {
        let of = |grant: &Grant| {
            let Matter { agent, destination, .. } = &grant.matter;
            Some((agent.as_str().into(), Target::parse(destination).ok()?))
        };
        self.controls.grants().filter_map(of).collect()
    }

    /// Writes what changed. What cannot be written holds until the daemon ends, and is tried again.
    pub(super) fn save(&mut self) {
        let Some(text) = self.controls.to_save(now()) else { return };
        let written = write(&self.path, &text);
        if let Err(error) = &written {
            self.controls.keep_changed();
            if !self.is_failing {
                tracing::error!(%error, path = %self.path.display(), "controls are not written");
            }
        }
        self.is_failing = written.is_err();
    }
}

/// Replaces the file in one step.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn now() -> Now {
    Now { ms: clock::now_ms(), boot_ns: clock::boot_ns() }
}

impl Engine {
    /// Answers what people decide. `None` if the request is another.
    pub(super) fn answer_control(
        &mut self,
        request: &Request,
        peer: Option<Peer>,
    ) -> Option<Reply> {
        let controls = &self.controls.controls;
        Some(match request {
            Request::Approvals => ok(&controls.requests().collect::<Vec<_>>()),
            Request::Grants => ok(&controls.grants().collect::<Vec<_>>()),
            Request::Quarantined => ok(&controls.quarantined().collect::<Vec<_>>()),
            Request::Approve { id, seconds } => self.approve(*id, *seconds, &self.by(peer)),
            Request::Deny { id } => self.deny(*id, &self.by(peer)),
            Request::Revoke { id } => self.revoke(*id, &self.by(peer)),
            Request::Quarantine { target, kill } => {
                self.quarantine(target.as_deref(), *kill, &self.by(peer))
            }
            Request::Release { target } => self.release(target.as_deref(), &self.by(peer)),
            _ => return None,
        })
    }

    /// Who is at the other end of the socket.
    pub(super) fn by(&self, peer: Option<Peer>) -> By {
        peer.map_or(By { uid: 0, name: None, login_uid: None }, by)
    }

    /// Opens a request where a person is needed.
    pub(super) fn ask_for_grant(&mut self, event: &FlowEvent, actor: &Actor) {
        let is_asking = event.reason == Reason::Approval as u8 && event.mode == Mode::Enforce as u8;
        if !is_asking {
            return;
        }
        let Some(matter) = self.matter(event) else { return };
        let policy = self.state.policy();
        let rule = policy.rule(event.rule).map_or_else(String::new, |rule| rule.id.to_string());
        let own = format!("{} (pid {})", actor.process.name, actor.process.pid);
        let above = actor.lineage.iter().map(|one| format!("{} (pid {})", one.name, one.pid));
        let processes = std::iter::once(own).chain(above).take(PROCESSES_MAX).collect();
        let controls = &mut self.controls.controls;
        let id = controls.ask(matter.clone(), rule, processes, clock::now_ms());
        let Some(id) = id else {
            tracing::warn!(%matter, "too many requests wait; this one is not kept");
            return;
        };
        if controls.request(id).is_some_and(|request| request.count == 1) {
            self.controls.save();
            let message = format!("request {id} waits for a person: {matter}");
            let actor = Some(actor.clone());
            self.rule(("approval.ask", Ruling::Delayed), &matter, id, None, actor, message);
        }
    }

    /// What a request about an event would be about: the name of the rule's set, else the address.
    fn matter(&self, event: &FlowEvent) -> Option<Matter> {
        let policy = self.state.policy();
        // Whose rule asks for a person: the process's agent, or one that started it.
        let asking = policy.rule(event.rule).map_or(event.header.subject, |rule| rule.subject);
        let agent = policy.agent(asking)?.name.to_string();
        let address = std::net::IpAddr::from(event.address);
        let destination = match HostPattern::parse(policy.sets.get(&event.set)?) {
            Err(_) => address.to_string(),
            Ok(pattern) if !pattern.is_wildcard() => pattern.to_string(),
            Ok(_) => {
                let name = self.state.names.name(event.header.subject, event.address, event.set);
                name?.to_string()
            }
        };
        Some(Matter { agent, destination, port: event.port, protocol: event.protocol })
    }

    fn approve(&mut self, id: u64, seconds: u64, by: &By) -> Reply {
        let who = in_words(by);
        let grant = match self.controls.controls.approve(id, seconds, &who, now()) {
            Ok(grant) => grant,
            Err(why) => return refusal(why, "`governd approvals` lists the requests that wait"),
        };
        self.controls.save();
        let message = format!("{} grants {} for {seconds} s", unnamed(by), grant.matter);
        let by = Some(by.clone());
        self.rule(("approval.approve", Ruling::Approved), &grant.matter, id, by, None, message);
        match self.regrant() {
            Ok(()) => ok(&grant),
            Err(error) => failed(error),
        }
    }

    fn deny(&mut self, id: u64, by: &By) -> Reply {
        let Some(request) = self.controls.controls.refuse(id) else {
            return refusal("no such request waits", "`governd approvals` lists them");
        };
        self.controls.save();
        let message = format!("{} refuses {}", unnamed(by), request.matter);
        let by = Some(by.clone());
        self.rule(("approval.deny", Ruling::Rejected), &request.matter, id, by, None, message);
        ok(&request)
    }

    fn revoke(&mut self, id: u64, by: &By) -> Reply {
        let Some(grant) = self.controls.controls.revoke(id) else {
            return refusal("no such grant holds", "`governd grants` lists them");
        };
        self.controls.save();
        let message = format!("{} revokes {}", unnamed(by), grant.matter);
        let by = Some(by.clone());
        self.rule(("grant.revoke", Ruling::Revoked), &grant.matter, id, by, None, message);
        match self.regrant() {
            Ok(()) => ok(&grant),
            Err(error) => failed(error),
        }
    }

    /// Puts what is granted into force: a policy with a set for each destination, and the grants.
    fn regrant(&mut self) -> Result<(), InstallError> {
        self.rulebook.set_granted(self.controls.granted());
        self.recompiled()
    }

    /// Puts into force what people said beside the documents.
    pub(super) fn recompiled(&mut self) -> Result<(), InstallError> {
        match self.rulebook.recompile(&self.host)? {
            Some(policy) if policy.image != self.state.policy().image => {
                self.put_in_force(policy)?;
            }
            Some(policy) => self.apply_controls(&policy)?,
            None => {}
        }
        Ok(())
    }

    /// Puts quarantine and grants into the kernel, in the numbers of a policy.
    ///
    /// # Errors
    /// A map cannot be read or written.
    pub(super) fn apply_controls(&mut self, policy: &Compiled) -> Result<(), KernelError> {
        self.take_halted(policy, HALTED)?;
        let numbers = self.in_numbers(policy);
        for subject in numbers.quarantined {
            self.kernel.set_quarantined(subject, true)?;
        }
        self.kernel.set_grants(&numbers.grants.into_iter().collect::<Vec<_>>())
    }

    /// What people said, in the numbers of a policy.
    pub(super) fn in_numbers(&self, policy: &Compiled) -> tables::Controls {
        let controls = &self.controls.controls;
        let sets: HashMap<&str, u32> = match controls.grants().next() {
            Some(_) => policy.sets.iter().map(|(set, text)| (&**text, *set)).collect(),
            None => HashMap::new(),
        };
        let grants = controls.grants().filter_map(|grant| {
            let &Matter { ref agent, ref destination, port, protocol } = &grant.matter;
            let target = Target::parse(destination).ok()?.to_string();
            let set = *sets.get(target.as_str())?;
            let (subject, protocol) = (policy.subject_named(agent)?, u16::from(protocol));
            Some((GrantKey { subject, set, port, protocol }, grant.until_ns))
        });
        let quarantined = controls.quarantined().filter_map(|one| policy.subject_named(&one.agent));
        let quarantined = quarantined.flat_map(|agent| policy.subjects_of(agent));
        tables::Controls { grants: grants.collect(), quarantined: quarantined.collect() }
    }

    /// Time passes: grants lapse, which the kernel has seen to, and what changed is written.
    pub(super) fn pass_controls(&mut self) {
        let policy = Arc::clone(self.state.policy());
        if let Err(error) = self.take_halted_unsaid(&policy) {
            tracing::warn!(%error, "what is quarantined cannot be read");
        }
        let lapsed = self.controls.controls.lapsed(clock::boot_ns());
        for grant in &lapsed {
            let message = format!("the grant of {} has lapsed", grant.matter);
            let operation = ("grant.lapse", Ruling::Revoked);
            self.rule(operation, &grant.matter, grant.id, None, None, message);
        }
        if !lapsed.is_empty()
            && let Err(error) = self.regrant()
        {
            tracing::warn!(%error, "what has lapsed is still in the tables, without effect");
        }
        self.controls.save();
    }

    fn rule(
        &self,
        (operation, ruling): (&'static str, Ruling),
        matter: &Matter,
        id: u64,
        by: Option<By>,
        actor: Option<Actor>,
        message: String,
    ) {
        let what = matter.to_string();
        let destination = what.split_once(" to ").map(|(_, to)| to.into());
        let record = Control {
            operation,
            ruling,
            agent: Some(matter.agent.as_str().into()),
            destination,
            correlation: Some(format!("approval/{id}").into()),
            by,
            actor,
            message: message.into(),
        };
        self.journal.record(Record::Control(record), None);
    }

    pub(super) fn rule_agent(
        &self,
        (operation, ruling): (&'static str, Ruling),
        agent: &str,
        by: Option<By>,
        message: String,
    ) {
        let record = Control {
            operation,
            ruling,
            agent: Some(agent.into()),
            destination: None,
            correlation: None,
            by,
            actor: None,
            message: message.into(),
        };
        self.journal.record(Record::Control(record), None);
    }
}

/// Who a process belongs to.
pub(super) fn by(Peer { uid, pid }: Peer) -> By {
    let login = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/loginuid")).ok());
    let login_uid = login.and_then(|text| text.trim().parse().ok());
    let name = Users::read(Path::new("/etc/passwd")).name(uid);
    By { uid, name, login_uid: login_uid.filter(|uid| *uid != NO_LOGIN) }
}

/// `uid 1000`: who did it as a record's message has it, whose text cannot be erased. The name
/// stands beside the record.
pub(super) fn unnamed(by: &By) -> String {
    format!("uid {}", by.uid)
}

/// `dana (uid 1000)`, and who logged in if that is another.
pub(super) fn in_words(by: &By) -> String {
    let By { uid, name, login_uid } = by;
    let name = name.as_deref().map_or_else(String::new, |name| format!("{name} "));
    match login_uid {
        Some(login) if login != uid => format!("{name}(uid {uid}, login uid {login})"),
        _ => format!("{name}(uid {uid})"),
    }
}

pub(super) fn refusal(message: &str, hint: &str) -> Reply {
    let (message, hint) = (message.to_owned(), Some(hint.to_owned()));
    Reply::Error { message, hint, kind: ErrorKind::NotFound }
}
