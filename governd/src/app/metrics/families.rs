//! The metrics, out of a status report.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text},
    metrics::{MetricType, exemplar::Exemplar},
    registry::Registry,
};

use crate::control::protocol::{CommitTimes, StatusReport};

/// Beginning of every name.
const PREFIX: &str = "governd";

/// The text of all metrics.
///
/// # Errors
/// None in practice: writing to a string does not fail.
pub(super) fn text(report: &StatusReport) -> Result<String, fmt::Error> {
    let commits = Some(report.log.commits.clone());
    encode(families(report), commits)
}

/// The text of families, and of how long commits took.
///
/// # Errors
/// None in practice: writing to a string does not fail.
pub(super) fn encode(
    families: Vec<Family>,
    commits: Option<CommitTimes>,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    let families = Families { families, commits };
    registry.register_collector(Box::new(families));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Families {
    families: Vec<Family>,
    commits: Option<CommitTimes>,
}

#[derive(Debug)]
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// Only grows while the daemon runs.
    Counters(Vec<(Labels, u64)>),
    /// Goes up and down.
    Gauges(Vec<(Labels, f64)>),
}

pub(super) type Labels = Vec<(&'static str, String)>;

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for Family { name, help, values } in &self.families {
            match values {
                Values::Counters(samples) => {
                    let counter = MetricType::Counter;
                    let mut metric = encoder.encode_descriptor(name, help, None, counter)?;
                    for (labels, value) in samples {
                        let none = None::<&Exemplar<NoLabelSet, u64>>;
                        match labels.as_slice() {
                            [] => metric.encode_counter(value, none)?,
                            _ => metric.encode_family(labels)?.encode_counter(value, none)?,
                        }
                    }
                }
                Values::Gauges(samples) => {
                    let gauge = MetricType::Gauge;
                    let mut metric = encoder.encode_descriptor(name, help, None, gauge)?;
                    for (labels, value) in samples {
                        match labels.as_slice() {
                            [] => metric.encode_gauge(value)?,
                            _ => metric.encode_family(labels)?.encode_gauge(value)?,
                        }
                    }
                }
            }
        }
        let Some(CommitTimes { sum_s, counts, longer }) = &self.commits else {
            return Ok(());
        };
        let mut buckets = counts.clone();
        buckets.push((f64::MAX, *longer));
        let count = buckets.iter().map(|(_, count)| count).sum();
        let help = "Time that commits of the log took";
        let kind = MetricType::Histogram;
        let mut metric = encoder.encode_descriptor("log_commit_seconds", help, None, kind)?;
        metric.encode_histogram::<NoLabelSet>(*sum_s, count, &buckets, None)
    }
}

pub(super) fn counter(name: &'static str, help: &'static str, value: u64) -> Family {
    Family { name, help, values: Values::Counters(vec![(Vec::new(), value)]) }
}

pub(super) fn counters(
    name: &'static str,
    help: &'static str,
    samples: impl IntoIterator<Item = (Labels, u64)>,
) -> Family {
    Family { name, help, values: Values::Counters(samples.into_iter().collect()) }
}

pub(super) fn gauge(name: &'static str, help: &'static str, value: u64) -> Family {
    gauges(name, help, [(Vec::new(), value)])
}

pub(super) fn gauges(
    name: &'static str,
    help: &'static str,
    samples: impl IntoIterator<Item = (Labels, u64)>,
) -> Family {
    // Whole numbers up to 2^53 stay what they are.
    let samples = samples.into_iter().map(|(labels, value)| (labels, value as f64));
    Family { name, help, values: Values::Gauges(samples.collect()) }
}

/// How long certificates of the sink, and for it, are valid still, by whose they are.
pub(super) fn certificates<'a>(left_s: impl IntoIterator<Item = (&'a str, u64)>) -> Family {
    gauges(
        "sink_certificate_seconds",
        "Seconds until a certificate ends, by whose it is",
        left_s.into_iter().map(|(whose, left_s)| (vec![("certificate", whose.to_owned())], left_s)),
    )
}

/// 1 where there is a reason for trouble.
fn trouble(reason: Option<&String>) -> u64 {
    u64::from(reason.is_some())
}

fn families(report: &StatusReport) -> Vec<Family> {
    let mut families = of_kernel(report);
    families.extend(of_policy(report));
    families.extend(of_log(report));
    families.extend(of_exporters(report));
    families
}

fn of_kernel(report: &StatusReport) -> Vec<Family> {
    let version = vec![("version", report.version.clone())];
    let detached = report.programs.iter().filter(|program| !program.attached).count() as u64;
    let lost = report.lost.iter().map(|(reason, count)| (vec![("reason", reason.clone())], *count));
    let table = |name: &str| vec![("table", name.to_owned())];
    vec![
        gauges("build_info", "Version of the daemon", [(version, 1)]),
        gauge("uptime_seconds", "Time since the start", report.uptime_ms / 1_000),
        gauge("programs", "Programs in the kernel", report.programs.len() as u64),
        gauge("programs_detached", "Programs that somebody else detached", detached),
        gauges(
            "enforcement",
            "1 for the state that was last proved by trying: enforcing, not enforcing, ...",
            [(vec![("state", report.enforcement.state.clone())], 1)],
        ),
        counter(
            "enforcement_failures",
            "Trials of what must be refused that did not prove it",
            report.enforcement.failures,
        ),
        counters(
            "selftests",
            "Self-tests of agents, by outcome",
            [
                (vec![("outcome", "passed".to_owned())], report.selftests.passed),
                (vec![("outcome", "failed".to_owned())], report.selftests.failed),
            ],
        ),
        gauge("degraded", "What this kernel lacks", report.degraded.len() as u64),
        counter("events_read", "Events read from the kernel", report.events.read),
        counter("events_malformed", "Events that could not be understood", report.events.malformed),
        counters("lost", "What could not be reported or done, by reason", lost),
        gauges(
            "table_entries",
            "Entries in use of the programs' tables",
            report.tables.iter().map(|row| (table(&row.name), row.entries)),
        ),
        gauges(
            "table_entries_max",
            "Entries that the programs' tables have room for",
            report.tables.iter().map(|row| (table(&row.name), row.entries_max)),
        ),
    ]
}

fn of_policy(report: &StatusReport) -> Vec<Family> {
    let decisions = &report.decisions;
    let verdict = |word: &str| vec![("verdict", word.to_owned())];
    let (inventory, catalog) = (&report.inventory, &report.catalog);
    vec![
        counters(
            "decisions",
            "Decisions, by what became of them",
            [
                (verdict("allowed"), decisions.allowed),
                (verdict("denied"), decisions.denied),
                (verdict("would-deny"), decisions.would_deny),
            ],
        ),
        gauge("policy_generation", "Generation of the policy in force", report.policy.generation),
        counter("policies_refused", "Policies that were refused", report.policy.refused),
        gauge(
            "policy_rejected",
            "1 while the newest documents are not in force",
            trouble(report.policy.rejected.as_ref()),
        ),
        gauge("agents_registered", "Agents of the policy", report.agents.len() as u64),
        gauge("tracked_processes", "Processes that are tracked", report.tracked_processes),
        gauge("inventory_agents", "Agents in the inventory", inventory.agents),
        gauge("inventory_candidates", "What may be an agent", inventory.candidates),
        counter(
            "inventory_dropped",
            "Observations that did not fit into the inventory",
            inventory.dropped,
        ),
        gauge(
            "inventory_failing",
            "1 while the inventory cannot be written",
            trouble(inventory.failing.as_ref()),
        ),
        gauge("catalog_endpoints", "Endpoints in the catalogue", catalog.endpoints),
        gauge(
            "catalog_rejected",
            "1 while additions to the catalogue are not in use",
            trouble(catalog.rejected.as_ref()),
        ),
    ]
}

fn of_log(report: &StatusReport) -> Vec<Family> {
    let log = &report.log;
    vec![
        gauge("log_next_index", "Index that the next record gets", log.next_index),
        gauge("log_durable_index", "Index behind the last durable record", log.durable),
        gauge("log_queue_records", "Records that wait for the log's thread", log.queued),
        counter("log_lost_records", "Records that did not get into the log", log.lost_records),
        gauge("log_failing", "1 while the log cannot be written", trouble(log.failing.as_ref())),
    ]
}

fn of_exporters(report: &StatusReport) -> Vec<Family> {
    let of = |value: fn(&crate::control::protocol::ExporterStatus) -> u64| {
        report.exporters.iter().map(move |exporter| {
            let (name, kind) = (exporter.name.clone(), exporter.kind.clone());
            (vec![("exporter", name), ("kind", kind)], value(exporter))
        })
    };
    vec![
        counters("exporter_delivered", "Records delivered", of(|exporter| exporter.delivered)),
        gauges(
            "exporter_behind_records",
            "Durable records that are not delivered",
            of(|exporter| exporter.behind),
        ),
        counters(
            "exporter_missed",
            "Records that the log had no more",
            of(|exporter| exporter.missed),
        ),
        counters(
            "exporter_rejected",
            "Records that the receiver will never take",
            of(|exporter| exporter.rejected),
        ),
        counters("exporter_failures", "Deliveries that failed", of(|exporter| exporter.failures)),
        gauges(
            "exporter_failing",
            "1 while nothing is delivered",
            of(|exporter| trouble(exporter.failing.as_ref())),
        ),
        certificates(report.exporters.iter().flat_map(|exporter| {
            let certificates = exporter.certificates.iter();
            certificates.map(|certificate| (certificate.whose.as_str(), certificate.left_s))
        })),
    ]
}
