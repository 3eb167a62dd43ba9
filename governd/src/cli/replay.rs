//! `governd replay`: the names that governd sees in captures, and what a policy makes of them.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, ValueEnum};
use governd_common::verdict::{Mode, Verdict};
use serde::Serialize;

use super::{
    Outcome,
    exit::{Exit, Failure},
    printer::{Printer, Tone},
    unwritable,
};
use crate::{
    app::{
        catalogue,
        replay::{Judge, Judged, KernelReader},
        rulebook::{Rulebook, RulebookError},
    },
    capture::{self, CaptureError, Found, Parsers, Seen, Summary},
    catalog::Catalog,
    kernel::KernelError,
    policy::image::Compiled,
    settings::{HOST_FILE, PolicySource},
    workload::host::{HostFacts, HostPaths},
};

const PROTOCOL_UDP: u8 = 17;

/// Flags of `governd replay`.
#[derive(Args, Debug)]
pub(super) struct Replay {
    /// Captures, pcap or pcapng.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What reads the packets.
    #[arg(long, value_name = "ENGINE", default_value = "user")]
    engine: Engine,
    /// Policy documents, a file or a directory: say what they make of each connection.
    #[arg(long, value_name = "PATH", requires = "agent")]
    policy: Option<PathBuf>,
    /// The agent of the policy whose connections these are taken to be.
    #[arg(long, value_name = "NAME", requires = "policy")]
    agent: Option<String>,
    /// Trust the DNS answers of this server, and not those of every server of the capture.
    #[arg(long, value_name = "ADDRESS", requires = "policy")]
    resolver: Vec<IpAddr>,
    /// Print one JSON object per name, and per connection without one if there is a policy.
    #[arg(long)]
    json: bool,
}

/// What reads the packets.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Engine {
    /// The parsers, in this process.
    User,
    /// The eBPF programs, loaded for this and attached to nothing. This process decrypts QUIC, and
    /// puts fragments, streams and messages of DNS over TCP together.
    Kernel,
}

/// One name, or one connection without a name, as `--json` prints it.
#[derive(Serialize)]
struct Line<'a> {
    pcap: &'a str,
    frame: u64,
    proto: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    addresses: &'a [IpAddr],
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<&'static str>,
    #[serde(flatten)]
    ruling: Option<Ruling>,
}

/// What the policy makes of a connection.
#[derive(Serialize)]
struct Ruling {
    port: u16,
    verdict: &'static str,
    mode: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

impl From<&Judged> for Ruling {
    fn from(judged: &Judged) -> Self {
        let Judged { decision, rule, flow, .. } = judged;
        let verdict = match decision.verdict {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        };
        let mode = match decision.mode {
            Mode::Monitor => "monitor",
            Mode::Enforce => "enforce",
        };
        let (port, reason) = (flow.to.port(), decision.reason.word());
        Self { port, verdict, mode, reason, rule: rule.as_deref().map(str::to_owned) }
    }
}

impl Ruling {
    /// Verdict, reason and rule, in the tone of the verdict.
    fn words(&self, printer: &Printer) -> String {
        let (tone, verdict) = match (self.verdict, self.mode) {
            ("allow", _) => (Tone::Good, "allow"),
            (_, "monitor") => (Tone::Warn, "would deny"),
            _ => (Tone::Bad, "deny"),
        };
        let rule = self.rule.as_deref().map(|rule| format!(" {rule}")).unwrap_or_default();
        format!("  {} ({}{rule})", printer.paint(tone, verdict), self.reason)
    }
}

impl Replay {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let policy = self.policy.as_deref().map(compile).transpose()?;
        let (mut kernel, mut failed) = (None, None);
        for file in &self.files {
            let mut judge = match (&policy, &self.agent) {
                (Some(policy), Some(agent)) => Some(self.judge(policy, agent)?),
                _ => None,
            };
            let pcap = file.display().to_string();
            let mut written = Ok(());
            let mut sink = |seen: Seen| {
                let judged = judge.as_mut().and_then(|judge| judge.see(&seen));
                if let (Ok(()), Seen::Name(found)) = (&written, &seen) {
                    written = show(&pcap, found, judged.as_ref(), &printer);
                }
            };
            let summary = match self.engine {
                Engine::User => capture::replay_with(file, Parsers::default(), &mut sink),
                Engine::Kernel => capture::replay_with(file, loaded(&mut kernel)?, &mut sink),
            };
            written.map_err(unwritable)?;
            for judged in judge.iter_mut().flat_map(Judge::finish) {
                show_nameless(&pcap, &judged, &printer).map_err(unwritable)?;
            }
            match summary {
                Ok(summary) => printer.note(remark(&pcap, &summary)),
                Err(error @ CaptureError::Reader(_)) => return Err(failure(error, &pcap)),
                // The others are read all the same.
                Err(error) if failed.is_none() => failed = Some(failure(error, &pcap)),
                Err(error) => printer.note(format!("{pcap}: {error}")),
            }
        }
        failed.map_or(Ok(Exit::Yes), Err)
    }

    fn judge<'a>(&'a self, policy: &'a Compiled, agent: &str) -> Result<Judge<'a>, Failure> {
        Judge::new(policy, agent, &self.resolver).ok_or_else(|| {
            let known: Vec<&str> = policy.agents.iter().map(|agent| &*agent.name).collect();
            let error = anyhow::anyhow!("no agent of the policy is called {agent}");
            Failure::new(Exit::Usage, error, format!("it has: {}", known.join(", ")))
        })
    }
}

/// Reads and compiles policy documents. What they ask of a host is asked of this one; how agents
/// are recognised does not matter here.
fn compile(path: &Path) -> Result<Arc<Compiled>, Failure> {
    let cgroup = PathBuf::from("/sys/fs/cgroup");
    let host = HostFacts::read(&HostPaths::of_machine(cgroup, HOST_FILE.as_ref()));
    let known = catalogue::known(&Catalog::built_in());
    let mut rulebook = Rulebook::new(PolicySource::Path(path.to_owned()), None, known);
    rulebook.compile(&host).map_err(|error| {
        let exit = match &error {
            RulebookError::Source(_) => Exit::Environment,
            RulebookError::Invalid(_) | RulebookError::Bundle(_) => Exit::Invalid,
        };
        let error = anyhow::anyhow!("{}", error.lines().join("\n"));
        Failure::new(exit, error, "`governd policy check` says what is wrong with documents")
    })
}

fn show(pcap: &str, found: &Found, judged: Option<&Judged>, printer: &Printer) -> io::Result<()> {
    let Found { frame, proto, name, addresses, alpn, has_ech, refused, flow: _ } = found;
    let ruling = judged.map(Ruling::from);
    if printer.is_json() {
        return printer.value(&Line {
            pcap,
            frame: *frame,
            proto: proto.word(),
            name: Some(name),
            addresses,
            refused: *refused,
            ruling,
        });
    }
    let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
    let mut line = format!("{frame:>8}  {proto:<4}  {name}  {}", addresses.join(" "));
    if !alpn.is_empty() {
        line += &printer.paint(Tone::Dim, format_args!("  alpn {}", alpn.join(",")));
    }
    if *has_ech {
        line += &printer.paint(Tone::Dim, "  ech");
    }
    if let Some(reason) = refused {
        line += &printer.paint(Tone::Warn, format_args!("  {reason}"));
    }
    line += &ruling.map(|ruling| ruling.words(printer)).unwrap_or_default();
    printer.line(line)
}

/// A connection that carried no name.
fn show_nameless(pcap: &str, judged: &Judged, printer: &Printer) -> io::Result<()> {
    let Judged { frame, flow, protocol, .. } = judged;
    let proto = if *protocol == PROTOCOL_UDP { "udp" } else { "tcp" };
    let ruling = Ruling::from(judged);
    if printer.is_json() {
        return printer.value(&Line {
            pcap,
            frame: *frame,
            proto,
            name: None,
            addresses: &[flow.to.ip()],
            refused: None,
            ruling: Some(ruling),
        });
    }
    let words = ruling.words(printer);
    printer.line(format_args!("{frame:>8}  {proto:<4}  {}{words}", flow.to))
}

/// What was in a capture besides names, for the reader of stderr.
fn remark(pcap: &str, summary: &Summary) -> String {
    let Summary { frames, found, refused, undecoded, truncated } = summary;
    let mut parts = vec![format!("{frames} frames")];
    parts.extend(found.iter().map(|(proto, count)| format!("{count} {proto} names")));
    parts
        .extend(refused.iter().map(|((proto, reason), count)| format!("{count} {proto} {reason}")));
    if *undecoded > 0 {
        parts.push(format!("{undecoded} frames not decoded"));
    }
    if *truncated {
        parts.push("the file ends within a frame".into());
    }
    format!("{pcap}: {}", parts.join(", "))
}

/// The programs, loaded once for all captures, and without what an earlier one left.
fn loaded(kernel: &mut Option<KernelReader>) -> Result<&mut KernelReader, Failure> {
    let mut reader = match kernel.take() {
        Some(reader) => reader,
        None => KernelReader::load().map_err(unloadable)?,
    };
    reader.forget().map_err(unloadable)?;
    Ok(kernel.insert(reader))
}

fn unloadable(error: KernelError) -> Failure {
    let hint = error.hint();
    Failure::new(Exit::Environment, anyhow::Error::new(error), hint)
}

fn failure(error: CaptureError, pcap: &str) -> Failure {
    let (exit, hint) = match &error {
        CaptureError::Read(_) => {
            (Exit::Environment, "give the path of a capture that you may read")
        }
        CaptureError::Format { .. } | CaptureError::Header => {
            (Exit::Invalid, "give a capture in pcap or pcapng format, not compressed")
        }
        CaptureError::Reader(_) => {
            (Exit::Environment, "the names above were read; try `--engine user`")
        }
        CaptureError::Damaged { .. } => {
            (Exit::Invalid, "the names above were read; the rest of the file is damaged")
        }
    };
    Failure::new(exit, anyhow::Error::new(error).context(pcap.to_owned()), hint)
}
