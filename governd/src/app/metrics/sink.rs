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
            Some((store.hosts().ok()?, store.findings().ok()?))
        });
        let (hosts, found) = looked.await.ok()??;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let mut all = families(&counted, &hosts, &found, now);
        let ends = self.ends.iter().map(|end| (end.whose.word(), end.left_s(now)));
        all.push(certificates(ends));
        encode(all, None).ok()
    }
}

fn families(counted: &Counted, hosts: &[Host], found: &[Found], now_s: u64) -> Vec<Family> {
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
            hosts.iter().map(|host| (of(&host.name), host.size - host.first)),
        ),
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
