//! `governd watch`: events as they happen, one aligned line each.

use std::io;

use clap::{Args, ValueEnum};
use serde_json::Value;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{
    Outcome,
    exit::{Exit, Failure},
    flags::Socket,
    printer::{Printer, Tone, printable},
    status::failure,
    unwritable,
};
use crate::control::{client, server::Line};

/// Flags of `governd watch`.
#[derive(Args, Debug)]
pub(super) struct Watch {
    #[command(flatten)]
    filter: Filter,
    /// Begin with the record of this index in the log, not with new ones.
    #[arg(long, value_name = "INDEX")]
    since: Option<u64>,
    #[command(flatten)]
    socket: Socket,
    /// Print the records themselves, as JSON, one a line.
    #[arg(long)]
    json: bool,
}

/// Which events to show. An event must pass all that are given.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Filter {
    /// Only events of this agent (`unregistered` for everything that is no registered agent).
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Only decisions with this verdict.
    #[arg(long, value_name = "VERDICT")]
    verdict: Option<Verdict>,
    /// Only events about this destination: a name, `*.name`, or an address.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
}

/// A verdict, as people see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Verdict {
    /// Allowed by the policy.
    Allow,
    /// Refused.
    Deny,
    /// Denied by the policy, and let through in monitor mode.
    WouldDeny,
}

impl Watch {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let events = client::watch(&self.socket.socket, self.since).map_err(failure)?;
        for line in events {
            let line = line.map_err(|error| {
                Failure::new(Exit::Environment, error, "the daemon went away; is it still running?")
            })?;
            show(&line, &self.filter, &printer).map_err(unwritable)?;
        }
        printer.note("the daemon has stopped");
        Ok(Exit::Yes)
    }
}

/// Prints events of a daemon in this process until it ends.
pub(super) async fn follow(mut events: broadcast::Receiver<Line>, printer: Printer) {
    loop {
        let shown = match events.recv().await {
            Ok(line) => show(&line.text, &Filter::default(), &printer),
            Err(RecvError::Lagged(skipped)) => {
                show(&format!("{{\"skipped\":{skipped}}}"), &Filter::default(), &printer)
            }
            Err(RecvError::Closed) => return,
        };
        if shown.is_err() {
            return;
        }
    }
}

fn show(line: &str, filter: &Filter, printer: &Printer) -> io::Result<()> {
    let Ok(record) = serde_json::from_str::<Value>(line) else {
        printer.note(format_args!("not a record: {line}"));
        return Ok(());
    };
    if let Some(skipped) = record.get("skipped").and_then(Value::as_u64) {
        printer.note(format_args!("{skipped} events came too fast to show; the log has them"));
        return Ok(());
    }
    if let Some(reason) = string(&record, "/unreadable") {
        printer.note(format_args!("the log is damaged: {reason}"));
        return Ok(());
    }
    if !filter.passes(&record) {
        return Ok(());
    }
    if printer.is_json() { printer.line(line) } else { printer.line(text(&record, printer)) }
}

impl Filter {
    pub(super) fn passes(&self, record: &Value) -> bool {
        let agent = || string(record, "/unmapped/governd/agent/name");
        self.agent.as_deref().is_none_or(|wanted| agent() == Some(wanted))
            && self.verdict.is_none_or(|wanted| verdict(record) == Some(wanted))
            && self.host.as_deref().is_none_or(|wanted| concerns(record, wanted))
    }
}

fn concerns(record: &Value, wanted: &str) -> bool {
    let places = ["/dst_endpoint/hostname", "/dst_endpoint/ip", "/query/hostname"];
    places.iter().filter_map(|place| string(record, place)).any(|host| {
        match wanted.strip_prefix('*') {
            Some(parent) => host.ends_with(parent) && host.len() > parent.len(),
            None => host.eq_ignore_ascii_case(wanted),
        }
    })
}

fn verdict(record: &Value) -> Option<Verdict> {
    let decision = record.pointer("/unmapped/governd/decision")?;
    let would_deny = decision.get("would_deny").and_then(Value::as_bool).unwrap_or(false);
    match decision.get("verdict")?.as_str()? {
        "allow" => Some(Verdict::Allow),
        _ if would_deny => Some(Verdict::WouldDeny),
        _ => Some(Verdict::Deny),
    }
}

/// One line: time, kind, agent, process, and what happened.
pub(super) fn text(record: &Value, printer: &Printer) -> String {
    let (tone, word) = kind(record);
    let agent = string(record, "/unmapped/governd/agent/name").unwrap_or("-");
    format!(
        "{}  {}  {:<18}  {:<22}  {}",
        printer.paint(Tone::Dim, time(record)),
        printer.paint(tone, format_args!("{word:<10}")),
        printable(agent),
        printable(&process(record)),
        printable(&what(record)),
    )
}

fn kind(record: &Value) -> (Tone, &'static str) {
    match verdict(record) {
        Some(Verdict::Allow) => return (Tone::Good, "allow"),
        Some(Verdict::Deny) => return (Tone::Bad, "DENY"),
        Some(Verdict::WouldDeny) => return (Tone::Warn, "would-deny"),
        None => {}
    }
    match record.get("class_uid").and_then(Value::as_u64) {
        Some(4003) => (Tone::Dim, "dns"),
        Some(1007) => (Tone::Plain, "exec"),
        Some(2004) => (Tone::Warn, "finding"),
        Some(6002) => (Tone::Plain, "governd"),
        Some(6003) if record.get("status_id").and_then(Value::as_u64) == Some(1) => {
            (Tone::Plain, "policy")
        }
        Some(6003) => (Tone::Bad, "policy"),
        Some(6008) => (Tone::Bad, "LOST"),
        _ => (Tone::Plain, "event"),
    }
}

fn what(record: &Value) -> String {
    let Some(host) = string(record, "/dst_endpoint/ip") else {
        return string(record, "/message").unwrap_or_default().to_string();
    };
    let port = record.pointer("/dst_endpoint/port").and_then(Value::as_u64).unwrap_or(0);
    let protocol = string(record, "/connection_info/protocol_name").unwrap_or("ip");
    let address = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
    let destination = match string(record, "/dst_endpoint/hostname") {
        Some(name) => format!("{name}:{port}/{protocol} ({address})"),
        None => format!("{address}:{port}/{protocol}"),
    };
    let reason = string(record, "/unmapped/governd/decision/reason").unwrap_or_default();
    match string(record, "/unmapped/governd/decision/rule") {
        Some(rule) => format!("{destination}  {reason}: {rule}"),
        None => format!("{destination}  {reason}"),
    }
}

fn process(record: &Value) -> String {
    let places = ["/process", "/actor/process", "/evidences/0/actor/process"];
    let Some(process) = places.iter().find_map(|place| record.pointer(place)) else {
        return "-".into();
    };
    let name = process.get("name").and_then(Value::as_str).unwrap_or("?");
    match process.get("pid").and_then(Value::as_u64) {
        Some(pid) => format!("{name}[{pid}]"),
        None => name.to_string(),
    }
}

fn time(record: &Value) -> String {
    let millis = record.get("time").and_then(Value::as_i64).unwrap_or(0);
    let Ok(time) = jiff::Timestamp::from_millisecond(millis) else {
        return "--:--:--.---".into();
    };
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.3f").to_string()
}

fn string<'a>(record: &'a Value, place: &str) -> Option<&'a str> {
    record.pointer(place)?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn denied() -> Value {
        json!({
            "class_uid": 4001,
            "time": 0,
            "actor": {"process": {"name": "curl", "pid": 7}},
            "dst_endpoint": {"hostname": "api.mistral.ai", "ip": "2001:db8::1", "port": 443},
            "connection_info": {"protocol_name": "tcp"},
            "unmapped": {"governd": {
                "agent": {"name": "invoice-bot"},
                "decision": {"verdict": "deny", "would_deny": false, "reason": "no-rule",
                             "rule": "invoice-bot/default"},
            }},
        })
    }

    #[test]
    fn a_decision_is_one_aligned_line() {
        let line = text(&denied(), &Printer::new(true));
        let (_, line) = line.split_once("  ").unwrap();
        assert_eq!(
            line,
            "DENY        invoice-bot         curl[7]                 \
             api.mistral.ai:443/tcp ([2001:db8::1])  no-rule: invoice-bot/default"
        );
    }

    #[test]
    fn a_process_cannot_write_a_line_of_its_own() {
        let mut record = denied();
        record["actor"]["process"]["name"] = "x\n00:00:00.000  allow\x1b[2K\r".into();
        let line = text(&record, &Printer::new(true));
        assert!(!line.contains(['\n', '\r', '\x1b']), "{line:?}");
    }

    #[test]
    fn an_event_must_pass_every_filter() {
        let filter = |agent: &str, verdict, host: &str| Filter {
            agent: (!agent.is_empty()).then(|| agent.to_string()),
            verdict,
            host: (!host.is_empty()).then(|| host.to_string()),
        };
        let rows = [
            (filter("", None, ""), true),
            (filter("invoice-bot", Some(Verdict::Deny), "api.mistral.ai"), true),
            (filter("invoice-bot", Some(Verdict::WouldDeny), ""), false),
            (filter("other", None, ""), false),
            (filter("", None, "*.mistral.ai"), true),
            (filter("", None, "*.ai"), true),
            (filter("", None, "*.api.mistral.ai"), false),
            (filter("", None, "2001:db8::1"), true),
            (filter("", None, "api.openai.com"), false),
        ];
        for (filter, expected) in rows {
            assert_eq!(filter.passes(&denied()), expected, "{filter:?}");
        }
    }

    #[test]
    fn a_record_without_a_decision_shows_its_message() {
        let record = json!({"class_uid": 6002, "time": 0, "message": "governd started"});
        let line = text(&record, &Printer::new(true));
        assert!(
            line.ends_with(
                "governd     -                   -                       governd started"
            ),
            "{line}"
        );
    }
}
