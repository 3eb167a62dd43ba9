//! `governd agents show`: one agent, for people.

use super::{ago, printable};
use crate::{
    cli::{
        limits,
        printer::{Printer, Table, Tone},
    },
    control::inventory::{AgentDetail, EndpointRow, EvidenceRow, PolicyRow, ProcessRow},
};

/// Destinations that are listed; JSON has all.
const ENDPOINTS_SHOWN_MAX: usize = 40;
/// Processes that are listed; JSON has all.
const PROCESSES_SHOWN_MAX: usize = 20;

pub(super) fn lines(detail: &AgentDetail, now_ms: u64, printer: &Printer) -> Vec<String> {
    let mut lines = facts(detail, now_ms).lines(printer);
    section(&mut lines, "EVIDENCE", evidence(&detail.evidence).lines(printer));
    if let Some(latest) = &detail.latest {
        let title = if detail.processes.is_empty() { "LAST PROCESS" } else { "LINEAGE" };
        section(&mut lines, title, tree(latest));
    }
    if detail.processes.len() > 1 {
        section(&mut lines, "PROCESSES", processes(&detail.processes, now_ms).lines(printer));
    }
    if let Some(policy) = &detail.policy {
        section(&mut lines, "DECLARED", declared(policy).lines(printer));
        if !policy.limits.is_empty() {
            let rows = policy.limits.iter().map(|row| (&*policy.document, row));
            section(&mut lines, "LIMITS", limits::table(rows).lines(printer));
        }
    }
    if !detail.endpoints.is_empty() {
        let mut observed = observed(detail, now_ms).lines(printer);
        let more = detail.endpoints.len().saturating_sub(ENDPOINTS_SHOWN_MAX);
        if more > 0 {
            observed.push(format!("and {more} more; --json has all"));
        }
        if detail.endpoints_dropped > 0 {
            let count = detail.endpoints_dropped;
            observed.push(format!("and {count} connections to destinations that are not kept"));
        }
        section(&mut lines, "OBSERVED", observed);
    }
    lines
}

fn section(lines: &mut Vec<String>, title: &str, inner: Vec<String>) {
    lines.push(String::new());
    lines.push(title.to_owned());
    lines.extend(inner.into_iter().map(|line| format!("  {line}")));
}

fn facts(detail: &AgentDetail, now_ms: u64) -> Table {
    let mut table = Table::default();
    let summary = &detail.summary;
    let mut fact = |name: &str, text: String| {
        table.row([(Tone::Dim, name.to_string()), (Tone::Plain, text)]);
    };
    let kind = summary.kind.as_ref().map(|kind| format!(" ({kind})")).unwrap_or_default();
    fact("agent", format!("{}{kind}", printable(&summary.name)));
    fact("id", summary.id.clone());
    let state = match summary.standing.as_str() {
        "agent" => summary.state.clone(),
        standing => format!("{standing}, {}", summary.state),
    };
    let reason = summary.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    fact("state", format!("{state}{reason}"));
    fact("confidence", format!("{}%", summary.confidence));
    fact("owner", summary.owner.clone().unwrap_or_else(|| "nobody".into()));
    if let Some(policy) = &detail.policy {
        let sponsor = policy.sponsor.clone();
        if let Some(page) = &policy.page {
            fact("page", page.clone());
        }
        fact("sponsor", sponsor.unwrap_or_else(|| "nobody".into()));
        fact("approval", policy.approval.clone().unwrap_or_else(|| "nobody's".into()));
        if let Some(risk) = &policy.risk {
            fact("risk", risk.clone());
        }
        let source = policy.source.as_ref().map(|source| format!(" ({source})"));
        let text = format!("{}{}, {}", policy.document, source.unwrap_or_default(), policy.mode);
        fact("document", text);
    } else if let Some(document) = &summary.document {
        fact("document", format!("{document}, which is gone"));
    }
    fact("program", printable(&detail.program));
    if let Some(user) = &summary.user {
        fact("user", printable(user));
    }
    if let Some(place) = &summary.place {
        fact("place", printable(place));
    }
    if let Some(image) = &detail.image {
        fact("image", printable(image));
    }
    for (name, text) in detail.latest.iter().flat_map(origin) {
        fact(name, printable(&text));
    }
    if let Some(digest) = &detail.sha256 {
        fact("sha256", digest.clone());
    }
    for (name, text) in [
        ("script", &detail.script),
        ("script sha256", &detail.script_sha256),
        ("version", &detail.version),
    ] {
        if let Some(text) = text {
            fact(name, printable(text));
        }
    }
    if let Some(parent) = &detail.parent {
        fact("started by", parent.clone());
    }
    if !detail.children.is_empty() {
        fact("started", detail.children.join(", "));
    }
    let text = format!("{} now, {} in all", summary.processes, summary.processes_total);
    fact("processes", text);
    fact("first seen", when(summary.first_ms, now_ms));
    fact("last seen", when(summary.last_ms, now_ms));
    table
}

/// What an agent's last process belongs to, and who logged in to start it.
fn origin(process: &ProcessRow) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if let Some(uid) = process.login_uid {
        let session = process.login_session.map(|number| format!(", session {number}"));
        found.push(("login", format!("user {uid}{}", session.unwrap_or_default())));
    }
    if let Some(trace) = &process.trace_id {
        found.push(("trace", trace.clone()));
    }
    let Some(workload) = &process.workload else { return found };
    let unit = workload.user_unit.as_ref().or(workload.unit.as_ref());
    found.extend(unit.map(|unit| ("unit", unit.clone())));
    if let (Some(runtime), Some(id)) = (&workload.runtime, &workload.container) {
        found.push(("container", format!("{runtime} {id}")));
    }
    let name = workload.namespace.as_ref().zip(workload.pod.as_ref());
    let name = name.map(|(namespace, name)| format!("{namespace}/{name}"));
    found.extend(name.or_else(|| workload.pod_uid.clone()).map(|name| ("pod", name)));
    found.extend(workload.controller.iter().map(|name| ("controller", name.clone())));
    found.extend(workload.service_account.iter().map(|name| ("account", name.clone())));
    if !workload.labels.is_empty() {
        let labels = workload.labels.iter().map(|(name, value)| format!("{name}={value}"));
        found.push(("labels", labels.collect::<Vec<_>>().join(" ")));
    }
    found
}

fn when(at_ms: u64, now_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let at = at.map_or_else(|| "unknown".to_owned(), |at| format!("{at:.0}"));
    format!("{at}, {}", ago(at_ms, now_ms))
}

fn evidence(evidence: &[EvidenceRow]) -> Table {
    let mut table = Table::default();
    for one in evidence {
        table.row([
            (Tone::Plain, one.signal.clone()),
            (Tone::Plain, one.weight.clone()),
            (Tone::Plain, format!("{} times", one.count)),
            (Tone::Plain, one.name.clone()),
            (Tone::Plain, printable(&one.value)),
            (Tone::Dim, one.source.clone()),
        ]);
    }
    table
}

/// From the first ancestor down to the process.
fn tree(process: &ProcessRow) -> Vec<String> {
    let line = |depth: usize, pid: u32, name: &str, more: &str| {
        let branch = if depth == 0 { String::new() } else { "   ".repeat(depth - 1) + "└─ " };
        printable(&format!("{branch}{name}[{pid}] {more}"))
    };
    let above = process.lineage.iter().rev().enumerate();
    let mut lines: Vec<String> = above
        .map(|(depth, one)| line(depth, one.pid, &one.name, one.exe.as_deref().unwrap_or("")))
        .collect();
    let args = process.args.as_ref().map(|args| args.join(" ")).filter(|line| !line.is_empty());
    let more = args.or_else(|| process.exe.clone()).unwrap_or_default();
    lines.push(line(process.lineage.len(), process.pid, &process.name, &more));
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

fn processes(processes: &[ProcessRow], now_ms: u64) -> Table {
    let mut table = Table::default();
    for one in processes.iter().rev().take(PROCESSES_SHOWN_MAX) {
        let command = one.args.as_ref().map(|args| args.join(" ")).unwrap_or_default();
        table.row([
            (Tone::Plain, one.pid.to_string()),
            (Tone::Plain, one.user.clone().unwrap_or_else(|| "-".into())),
            (Tone::Plain, one.login_uid.map(|uid| format!("login {uid}")).unwrap_or_default()),
            (Tone::Dim, ago(one.first_ms, now_ms)),
            (Tone::Plain, printable(one.cgroup.as_deref().unwrap_or("-"))),
            (Tone::Plain, printable(&command)),
        ]);
    }
    table
}

fn declared(policy: &PolicyRow) -> Table {
    let mut table = Table::default();
    for rule in &policy.rules {
        table.row([(Tone::Dim, rule.id.clone()), (Tone::Plain, rule.text.clone())]);
    }
    let lists = [
        ("via", &policy.via),
        ("sha256", &policy.sha256),
        ("scripts", &policy.scripts),
        ("images", &policy.images),
        ("versions", &policy.versions),
    ];
    for (name, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        table.row([(Tone::Dim, (*name).to_string()), (Tone::Plain, list.join(", "))]);
    }
    if let Some(day) = &policy.review_by {
        table.row([(Tone::Dim, "review by".into()), (Tone::Plain, day.clone())]);
    }
    table
}

/// A number of bytes, short.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = count as f64;
    let mut text = format!("{count} B");
    for unit in UNITS {
        if value < 1_024.0 {
            break;
        }
        value /= 1_024.0;
        text = format!("{value:.1} {unit}");
    }
    text
}

/// What it reached for, what is outside of its document first.
fn observed(detail: &AgentDetail, now_ms: u64) -> Table {
    let mut table = Table::default();
    let mut endpoints: Vec<&EndpointRow> = detail.endpoints.iter().collect();
    endpoints.sort_by_key(|seen| (!seen.outside, std::cmp::Reverse(seen.last_ms)));
    let head = [
        "DESTINATION",
        "PROVIDER",
        "COUNT",
        "DENIED",
        "SENT",
        "RECEIVED",
        "FIRST",
        "LAST",
        "DECLARED",
    ];
    table.row(head.map(|word| (Tone::Dim, word.to_string())));
    for seen in endpoints.iter().take(ENDPOINTS_SHOWN_MAX) {
        let (tone, word) = match (&detail.policy, seen.outside) {
            (None, _) => (Tone::Dim, "no document"),
            (Some(_), true) => (Tone::Bad, "no"),
            (Some(_), false) => (Tone::Good, "yes"),
        };
        table.row([
            (Tone::Plain, printable(&format!("{}:{}", seen.host, seen.port))),
            (Tone::Plain, seen.provider.clone().unwrap_or_else(|| "-".into())),
            (Tone::Plain, seen.count.to_string()),
            (Tone::Plain, seen.denied.to_string()),
            (Tone::Plain, bytes(seen.sent_bytes)),
            (Tone::Plain, bytes(seen.received_bytes)),
            (Tone::Dim, ago(seen.first_ms, now_ms)),
            (Tone::Dim, ago(seen.last_ms, now_ms)),
            (tone, word.to_string()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_short() {
        let rows = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (5 << 20, "5.0 MiB"),
            (u64::MAX, "16384.0 PiB"),
        ];
        for (count, text) in rows {
            assert_eq!(bytes(count), text);
        }
    }
}
