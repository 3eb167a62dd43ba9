//! The metrics of a sink: what its server counted, and what its store says of each host.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::task::spawn_blocking;

use super::{
    families::{Family, certificates, counter, counters, encode, gauge, gauges},
    server::Source,
};
use crate::sink::{
    counts::{Counted, Counts},
    store::{Found, Host, Store},
    validity::End,
};

/// Where they come from.
#[derive(Clone, Debug)]
pub struct OfSink {
    directory: PathBuf,
    counts: Arc<Counts>,
    ends: Vec<End>,
}

impl OfSink {
    /// Of the sink in a directory, whose server counts, and whose certificates end.
    pub fn new(directory: PathBuf, counts: Arc<Counts>, ends: &[End]) -> Self {
        Self { directory, counts, ends: ends.to_vec() }
    }
}

impl Source for OfSink {
    async fn text(&self) -> Option<String> {
        let (directory, counted) = (self.directory.clone(), self.counts.now());
        let looked = spawn_blocking(move || {
            let store = Store::open(&directory).ok()?;
            let (hosts, found) = (store.hosts().ok()?, store.findings().ok()?);
            let oldest = hosts.iter().map(|host| store.oldest_s(host));
            let oldest_s = oldest.collect::<Result<_, _>>().ok()?;
            Some(Looked { oldest_s, bytes: store.bytes().ok()?, hosts, found })
        });
        let looked = looked.await.ok()??;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let mut all = families(&counted, &looked, now);
        let ends = self.ends.iter().map(|end| (end.whose.word(), end.left_s(now)));
        all.push(certificates(ends));
        encode(all, None).ok()
    }
}

/// What the store says.
struct Looked {
    hosts: Vec<Host>,
    /// When the oldest that is there of each came.
    oldest_s: Vec<Option<u64>>,
    found: Vec<Found>,
    /// Those of its file, and those of them that are free.
    bytes: (u64, u64),
}

fn families(counted: &Counted, looked: &Looked, now_s: u64) -> Vec<Family> {
    let Looked { hosts, oldest_s, found, bytes: (bytes, free) } = looked;
    let oldest = hosts.iter().zip(oldest_s);
    let of = |name: &str| vec![("host", name.to_owned())];
    let took_us = u64::try_from(counted.groups_took.as_micros()).unwrap_or(u64::MAX);
    let refused =
        counted.refused.iter().map(|(what, count)| (vec![("what", what.clone())], *count));
    let findings = found.iter().map(|found| {
        (vec![("host", found.host.clone()), ("what", found.what.clone())], found.count)
    });
    vec![
        counter("sink_batches", "Batches that were stored", counted.batches),
        counter("sink_records", "Records that were stored", counted.records),
        counter("sink_bytes", "Bytes of stored batches, as they came", counted.bytes),
        counter("sink_groups", "Groups that were made durable at once", counted.groups),
        counter("sink_groups_microseconds", "Time that those took", took_us),
        counter(
            "sink_store_failures",
            "Groups that the store did not take; hosts send them again",
            counted.store_failures,
        ),
        counters("sink_refused", "What was refused, by its word", refused),
        gauge("sink_connections", "Connections that are open", counted.connections),
        gauges(
            "sink_host_records",
            "Records that are stored of a host",
            hosts.iter().map(|host| (of(&host.name), host.size.saturating_sub(host.kept_from()))),
        ),
        gauges(
            "sink_host_oldest_seconds",
            "Time since the oldest records came that are stored of a host",
            oldest.map(|(host, since_s)| {
                (of(&host.name), since_s.map_or(0, |since_s| now_s.saturating_sub(since_s)))
            }),
        ),
        gauge("sink_store_bytes", "Bytes of the file of the store", *bytes),
        gauge("sink_store_free_bytes", "Bytes in it that are free for what comes", *free),
        gauges(
            "sink_host_silence_seconds",
            "Time since a host was heard of",
            hosts.iter().map(|host| (of(&host.name), now_s.saturating_sub(host.seen_s))),
        ),
        gauges(
            "sink_host_findings",
            "What is wrong with a host, by its word, and how often it was seen",
            findings,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        audit::checkpoint::Signer,
        sink::authority::{self, Authority},
    };

    const DASHBOARD: &str = include_str!("../../../../deploy/grafana/governd-sink.json");

    #[tokio::test]
    async fn what_is_late_and_what_was_refused_is_told_of_each_host() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        let signer = Signer::new("governd/host", [1; 32]).unwrap();
        store.add_token("secret", "web-1", 10).unwrap();
        let keys = signer.verifier().clone().into();
        store.enroll("secret", &keys, 1, |_| Ok(((), [7; 32]))).unwrap();
        let host = store.hosts().unwrap().pop().unwrap();
        store.find(&host, "silent", "nothing is heard", 5).unwrap();
        let counts = Arc::<Counts>::default();
        ["fork", "busy", "fork"].into_iter().for_each(|what| counts.refused(what));
        counts.stored(12, 345);
        authority::create(directory.path(), &["127.0.0.1".to_owned()]).unwrap();
        let ends = Authority::open(directory.path()).unwrap().ends().to_vec();
        let source = OfSink::new(directory.path().to_owned(), counts, &ends);
        let text = source.text().await.unwrap();
        for line in [
            "governd_sink_refused_total{what=\"fork\"} 2",
            "governd_sink_refused_total{what=\"busy\"} 1",
            "governd_sink_records_total 12",
            "governd_sink_host_records{host=\"web-1\"} 0.0",
            "governd_sink_host_findings{host=\"web-1\",what=\"silent\"} 1.0",
        ] {
            assert!(text.lines().any(|each| each == line), "{line} is not in {text}");
        }
        assert!(text.contains("governd_sink_host_silence_seconds{host=\"web-1\"}"));
        // Ten years and five, less the part of today that is over.
        for (whose, days) in [("authority", 3_650.0), ("server", 1_825.0)] {
            let name = format!("governd_sink_certificate_seconds{{certificate=\"{whose}\"}} ");
            let left_s = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
            let left: f64 = left_s.parse::<f64>().unwrap() / 86_400.0;
            assert!(left > days - 2.0 && left <= days, "{whose}: {left} days");
        }
        let words = DASHBOARD.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("governd_")).collect();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let there: BTreeSet<&str> =
            lines.filter_map(|line| line.split(['{', ' ']).next()).collect();
        assert_eq!(asked, there);
    }
}
