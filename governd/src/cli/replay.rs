//! `governd replay`: the names that governd sees in captures.

use std::{io, net::IpAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    Outcome,
    exit::{Exit, Failure},
    printer::{Printer, Tone},
    unwritable,
};
use crate::{
    app::replay::KernelReader,
    capture::{self, CaptureError, Found, Summary},
    kernel::KernelError,
};

/// Flags of `governd replay`.
#[derive(Args, Debug)]
pub(super) struct Replay {
    /// Captures, pcap or pcapng.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What reads the packets.
    #[arg(long, value_name = "ENGINE", default_value = "user")]
    engine: Engine,
    /// Print one JSON object per name.
    #[arg(long)]
    json: bool,
}

/// What reads the packets.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Engine {
    /// The parsers, in this process.
    User,
    /// The eBPF programs, loaded for this and attached to nothing; QUIC stays with this process.
    Kernel,
}

/// One name, as `--json` prints it.
#[derive(Serialize)]
struct Line<'a> {
    pcap: &'a str,
    frame: u64,
    proto: &'static str,
    name: &'a str,
    addresses: &'a [IpAddr],
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<&'static str>,
}

impl Replay {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let mut kernel = None;
        for file in &self.files {
            let pcap = file.display().to_string();
            let mut written = Ok(());
            let mut sink = |found: Found| {
                if written.is_ok() {
                    written = show(&pcap, &found, &printer);
                }
            };
            let summary = match self.engine {
                Engine::User => capture::replay(file, &mut sink),
                Engine::Kernel => {
                    let reader = loaded(&mut kernel)?;
                    capture::replay_with(file, reader, &mut sink)
                }
            };
            written.map_err(unwritable)?;
            let summary = summary.map_err(|error| failure(error, &pcap))?;
            printer.note(remark(&pcap, &summary));
        }
        Ok(Exit::Yes)
    }
}

fn show(pcap: &str, found: &Found, printer: &Printer) -> io::Result<()> {
    let Found { frame, proto, name, addresses, alpn, has_ech, refused } = found;
    if printer.is_json() {
        let proto = proto.word();
        return printer.value(&Line {
            pcap,
            frame: *frame,
            proto,
            name,
            addresses,
            refused: *refused,
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
    printer.line(line)
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
        CaptureError::Format { .. } => {
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
