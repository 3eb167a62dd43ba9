//! One typed record per thing worth proving, and its line: canonical JSON in OCSF 1.8.0 form.
//!
//! Pure: time, host and log index come in as values. What OCSF has no attribute for stands below
//! `unmapped.governd`. A line is at most [`RECORD_BYTES_MAX`] bytes; what had to be cut is named in
//! it. Values of secrets never enter: arguments arrive redacted, and are looked at once more here.
//! User names and command lines stand beside a record, and a salted digest in it (`personal`).

use std::{net::IpAddr, sync::Arc};

use governd_common::{
    event::Hook,
    verdict::{Loss as LossReason, Mode, Reason, Verdict},
};
use uuid::Uuid;

use super::{canonical, keys::Handover};
use crate::core::process::{Ancestor, Process};

pub use control::{By, Control, Ruling};
pub use host::Host;
pub use personal::{Token, Tokens};
pub use retention::{Retention, logged_ms};
pub use subject::Subject;

mod control;
mod deleted;
mod dns;
mod exec;
mod finding;
mod fit;
mod flow;
mod host;
mod lifecycle;
mod loss;
mod object;
pub mod personal;
mod policy;
mod prepared;
mod query;
mod redact;
mod retention;
mod subject;
#[cfg(test)]
mod tests;

/// Longest line of the log, in bytes, without its newline.
pub const RECORD_BYTES_MAX: usize = 32 * 1_024;
/// Version of OCSF that the records follow.
pub const OCSF_VERSION: &str = "1.8.0";
/// Bytes that hold nearly every line.
const LINE_BYTES_USUAL: usize = 2 * 1_024;

/// What every record says of the host.
#[derive(Clone, Debug)]
pub struct Context {
    /// Host name.
    pub hostname: Arc<str>,
    /// `/etc/machine-id`, where there is one.
    pub machine_id: Option<Arc<str>>,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Arc<str>,
    /// When the host booted, in milliseconds since the epoch; added to `CLOCK_BOOTTIME` it is the
    /// time.
    pub booted_ms: u64,
    /// Kernel release, as `uname -r` prints it.
    pub kernel: Arc<str>,
    /// Version of governd.
    pub version: Arc<str>,
    /// What this kernel lacks, and governd does without.
    pub degraded: Arc<[Degraded]>,
}

/// Something that does not work on this host's kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Degraded {
    /// What, in one word, as `governd doctor` calls it.
    pub what: &'static str,
    /// What does not happen, in one sentence.
    pub detail: &'static str,
}

/// When a record's event happened, when it was logged, and where it stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// When it happened, in milliseconds since the epoch.
    pub time_ms: u64,
    /// When it was logged, in milliseconds since the epoch.
    pub logged_ms: u64,
    /// Index in the log.
    pub sequence: u64,
    /// What stands for its [`Record::values`].
    pub tokens: Tokens,
}

/// The policy that was in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyRef {
    /// `sha256:` and the hex digest of its canonical documents.
    pub digest: Arc<str>,
    /// Its generation in the kernel.
    pub generation: u64,
}

/// The rule that decided; also a default has a rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleRef {
    /// Stable name, such as `invoice-bot/egress/2`.
    pub id: Arc<str>,
    /// The rule in words.
    pub text: Arc<str>,
}

/// What was decided, and by what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// What the policy says.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Whether a denial is carried out.
    pub mode: Mode,
    /// The rule; `None` where no policy could be read.
    pub rule: Option<RuleRef>,
    /// The policy.
    pub policy: PolicyRef,
}

/// A process and where it comes from.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The process.
    pub process: Arc<Process>,
    /// Its ancestors, nearest first.
    pub lineage: Arc<[Ancestor]>,
}

/// How the name of a destination is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Evidence {
    /// It is not; there is no name.
    None,
    /// A trusted DNS answer bound it to the address for this subject.
    Dns,
    /// The client asked for it in its TLS ClientHello.
    Sni,
    /// Both of these.
    Both,
}

impl Evidence {
    /// The word in records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Dns => "dns",
            Self::Sni => "sni",
            Self::Both => "both",
        }
    }
}

/// What the first bytes of a connection said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    /// `tls`, `http` or `quic`.
    pub source: &'static str,
    /// The server name or Host; `None` if there is none that could be read.
    pub name: Option<Arc<str>>,
    /// Protocols that the client offers (ALPN).
    pub alpn: Vec<String>,
    /// Whether the hello carries an encrypted one.
    pub has_ech: bool,
    /// Why there is no name.
    pub refusal: Option<&'static str>,
}

/// Where a flow goes.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Name, without a final dot.
    pub name: Option<Arc<str>>,
    /// How the name is known.
    pub evidence: Evidence,
    /// What the catalogue calls the service behind it, such as `openai`.
    pub service: Option<Arc<str>>,
    /// What its first bytes said, where they were read.
    pub said: Option<Said>,
}

/// A decision about a destination: Network Activity, 4001.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Who asked.
    pub actor: Actor,
    /// As whom.
    pub subject: Arc<Subject>,
    /// What was decided.
    pub decision: Decision,
    /// Where it was decided.
    pub hook: Hook,
    /// Where it goes; a raw socket has no destination yet.
    pub destination: Option<Destination>,
    /// What it goes through on this host: a device or a local socket.
    pub path: Option<Arc<str>>,
    /// IP protocol number.
    pub protocol: u8,
    /// Socket cookie; 0 where the kernel gave none.
    pub cookie: u64,
}

/// The same decision several times, in one record: Network Activity, 4001.
#[derive(Clone, Debug)]
pub struct Repeated {
    /// The decision, about the last of them.
    pub flow: Flow,
    /// How many there were.
    pub count: u64,
    /// When the first was, in milliseconds since the epoch.
    pub first_ms: u64,
}

/// A DNS answer that bound addresses to a name: DNS Activity, 4003.
#[derive(Clone, Debug)]
pub struct DnsAnswer {
    /// Who asked, where known.
    pub actor: Option<Actor>,
    /// As whom.
    pub subject: Arc<Subject>,
    /// The policy that was in force.
    pub policy: PolicyRef,
    /// The resolver that answered.
    pub resolver: IpAddr,
    /// The name in the question, without a final dot.
    pub name: Arc<str>,
    /// Question type (1 is A, 28 is AAAA).
    pub question_type: u16,
    /// The addresses and their TTL in seconds, as answered.
    pub addresses: Vec<(IpAddr, u32)>,
}

/// A DNS query that the policy refuses: DNS Activity, 4003.
#[derive(Clone, Debug)]
pub struct DnsQuery {
    /// Who asked whom, and the decision.
    pub flow: Flow,
    /// The name in the question as far as it could be read, without a final dot.
    pub name: Arc<str>,
    /// Question type (1 is A, 28 is AAAA); 0 where it could not be read.
    pub question_type: u16,
}

/// A tracked process executed a file: Process Activity, 1007.
#[derive(Clone, Debug)]
pub struct Exec {
    /// The process, as it is after the exec.
    pub actor: Actor,
    /// As whom.
    pub subject: Arc<Subject>,
    /// The policy that was in force.
    pub policy: PolicyRef,
}

/// What became of a policy that somebody wrote.
#[derive(Clone, Debug)]
pub enum PolicyOutcome {
    /// It is in force.
    Installed {
        /// The one before it, where there was one.
        previous: Option<PolicyRef>,
        /// Agents in it.
        agents: u32,
        /// Rules in it.
        rules: u32,
    },
    /// It could not be read or installed; the one before stays in force.
    Refused {
        /// The reasons, one line each, with file, line and column.
        errors: Vec<String>,
    },
}

/// The policy changed, or should have: API Activity, 6003.
#[derive(Clone, Debug)]
pub struct PolicyChange {
    /// The policy in force after it; `None` if there is none.
    pub policy: Option<PolicyRef>,
    /// Files that it was read from.
    pub sources: Vec<String>,
    /// What became of it.
    pub outcome: PolicyOutcome,
}

/// Whether governd starts or stops.
#[derive(Clone, Debug)]
pub enum Phase {
    /// It enforces from here on.
    Start,
    /// It ends.
    Stop {
        /// Why, such as `signal SIGTERM`.
        reason: Arc<str>,
        /// Whether programs stay attached without it.
        stays_attached: bool,
    },
}

/// governd started or stopped: Application Lifecycle, 6002.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    /// Which of both.
    pub phase: Phase,
    /// Its process id.
    pub pid: u32,
    /// Mode of the host.
    pub mode: Mode,
    /// The policy in force, where there is one.
    pub policy: Option<PolicyRef>,
}

/// Where something was lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LossSource {
    /// The kernel could not report or store.
    Kernel(LossReason),
    /// The log could not be written.
    Log,
    /// The daemon could not keep up and discarded.
    Queue,
    /// Bytes behind the last whole record were cut when the log was opened.
    TornTail,
    /// An exporter did not deliver: the log had deleted it before, or the receiver refuses it.
    Export,
    /// A daemon that was killed had read events, and they may not be on record.
    Killed,
    /// Refused sockets could not be ended: their packets are stopped, but their programs wait.
    Undestroyed,
}

impl LossSource {
    /// The word in records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kernel(reason) => reason.word(),
            Self::Log => "log-unwritable",
            Self::Queue => "queue-full",
            Self::TornTail => "torn-tail",
            Self::Export => "not-exported",
            Self::Killed => "daemon-killed",
            Self::Undestroyed => "sockets-not-destroyed",
        }
    }
}

/// Something could not be recorded: Application Error, 6008.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Where.
    pub source: LossSource,
    /// How much: events (at most, for [`LossSource::Killed`]), records, or bytes for
    /// [`LossSource::TornTail`].
    pub count: u64,
    /// When it began, in milliseconds since the epoch.
    pub since_ms: u64,
    /// What the system said, where it said something.
    pub detail: Option<Arc<str>>,
}

/// The log deleted its oldest records, to be no larger than it may: API Activity, 6003.
#[derive(Clone, Copy, Debug)]
pub struct Deleted {
    /// The first record that it kept.
    pub kept_from: u64,
    /// Records that went.
    pub records: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Whether some of them should have been kept for longer, and there was no room.
    pub is_early: bool,
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Confidence {
    /// One weak sign.
    Low,
    /// Several weak signs, or a strong one.
    Medium,
    /// Observed in the kernel.
    High,
}

/// What governd found out, such as an agent that nobody registered: Detection Finding, 2004.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Kind, in kebab case, such as `shadow-agent`.
    pub kind: Arc<str>,
    /// What makes it the same finding when it is seen again.
    pub uid: Arc<str>,
    /// One sentence.
    pub title: Arc<str>,
    /// OCSF severity, 1 (informational) to 6 (fatal).
    pub severity: u8,
    /// How sure.
    pub confidence: Confidence,
    /// When it was first seen, in milliseconds since the epoch.
    pub first_seen_ms: u64,
    /// Who it is about, where it is a registered agent or the unregistered.
    pub subject: Option<Arc<Subject>>,
    /// The process, where there is one.
    pub actor: Option<Actor>,
    /// Where it went, where it went somewhere.
    pub destination: Option<Destination>,
    /// What speaks for it, one line each.
    pub evidence: Vec<String>,
}

/// A record, before it has a place in the log.
#[derive(Clone, Debug)]
pub enum Record {
    /// A decision about a destination.
    Flow(Flow),
    /// The same decision several times.
    Repeated(Repeated),
    /// A DNS answer that made bindings.
    Dns(DnsAnswer),
    /// A DNS query that the policy refuses.
    Query(DnsQuery),
    /// A tracked process executed a file.
    Exec(Exec),
    /// The policy changed, or should have.
    Policy(PolicyChange),
    /// governd started or stopped.
    Lifecycle(Lifecycle),
    /// Something could not be recorded.
    Loss(Loss),
    /// The log deleted its oldest records.
    Deleted(Deleted),
    /// Something was found out.
    Finding(Finding),
    /// Somebody decided something, or is asked to.
    Control(Control),
    /// Somebody has another key sign the log from here on.
    Rotation(Control, Handover),
}

impl Record {
    /// The record's line in the log: canonical JSON without a newline, at most
    /// [`RECORD_BYTES_MAX`] bytes.
    pub fn line(&self, host: &Host, stamp: &Stamp) -> String {
        let mut line = String::with_capacity(LINE_BYTES_USUAL);
        self.write_line(&mut line, host, stamp);
        line
    }

    /// Writes [`Record::line`] in place of what a text has, which keeps its memory.
    pub fn write_line(&self, line: &mut String, host: &Host, stamp: &Stamp) {
        line.clear();
        canonical::object(line, |o| match self {
            Self::Flow(flow) => flow::write(o, flow, host, stamp),
            Self::Repeated(repeated) => flow::repeated(o, repeated, host, stamp),
            Self::Dns(answer) => dns::write(o, answer, host, stamp),
            Self::Query(query) => query::write(o, query, host, stamp),
            Self::Exec(exec) => exec::write(o, exec, host, stamp),
            Self::Policy(change) => policy::write(o, change, host, stamp),
            Self::Lifecycle(lifecycle) => lifecycle::write(o, lifecycle, host, stamp),
            Self::Loss(loss) => loss::write(o, loss, host, stamp),
            Self::Deleted(deleted) => deleted::write(o, deleted, host, stamp),
            Self::Finding(finding) => finding::write(o, finding, host, stamp),
            Self::Control(control) => control::write(o, control, None, host, stamp),
            Self::Rotation(control, handover) => {
                control::write(o, control, Some(handover), host, stamp);
            }
        });
        fit::fit(line);
    }
}

/// The index of the record that has an id, if it is one of [`Host::uid`]'s.
pub fn index_of(uid: &Uuid) -> u64 {
    let [.., a, b, c, d, e, f, _, _, _, _] = uid.as_bytes().map(u64::from);
    (a & 0x0f) << 38 | b << 30 | (c & 0x3f) << 24 | d << 16 | e << 8 | f
}
