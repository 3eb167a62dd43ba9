//! How often each rule decided: taken from the kernel, kept in a file, and told.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    answers::{failed, ok},
    clock, controls,
    engine::Engine,
};
use crate::{
    control::{
        protocol::{Reply, Request},
        rules::RuleCount,
    },
    core::hits::RuleHits,
    kernel::KernelError,
    policy::image::Compiled,
};

const FILE: &str = "rules.json";
/// How often the counts are taken and written.
const TAKE_INTERVAL: Duration = Duration::from_secs(60);
const NS_PER_MS: u64 = 1_000_000;

/// The counts and their file.
#[derive(Debug)]
pub(super) struct RuleHitsFile {
    hits: RuleHits,
    path: PathBuf,
    taken: Instant,
    is_failing: bool,
}

impl RuleHitsFile {
    /// Reads the file, if there is one. Counts are no reason not to start: a file that cannot be
    /// read is begun anew.
    pub(super) fn open(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        let read = match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(RuleHits::default()),
            Err(error) => Err(error),
        };
        let hits = read.unwrap_or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "counts of rules begin anew");
            RuleHits::default()
        });
        Self { hits, path, taken: Instant::now(), is_failing: false }
    }

    fn save(&mut self) {
        let Some(text) = self.hits.to_save() else { return };
        let written = controls::write(&self.path, &text);
        if let Err(error) = &written {
            self.hits.keep_changed();
            if !self.is_failing {
                let path = self.path.display();
                tracing::warn!(%error, %path, "counts of rules are not written");
            }
        }
        self.is_failing = written.is_err();
    }
}

impl Engine {
    /// Answers how often rules decided. `None` if the request is another.
    pub(super) fn answer_rules(&mut self, request: &Request) -> Option<Reply> {
        let Request::RuleCounts = request else { return None };
        Some(match self.take_rule_hits() {
            Ok(()) => ok(&self.rule_counts()),
            Err(error) => failed(error),
        })
    }

    fn rule_counts(&self) -> Vec<RuleCount> {
        let policy = self.state.policy();
        let rules = policy.rules.iter().filter(|rule| rule.subject != 0);
        let count = |rule| {
            let total = self.controls.rule_hits.hits.of(rule);
            (rule, total)
        };
        let rows = rules.map(count).map(|(rule, total)| RuleCount {
            agent: policy.agent(rule.subject).map_or_else(String::new, |it| it.name.to_string()),
            rule: rule.id.to_string(),
            text: rule.text.to_string(),
            source: rule.source.as_ref().map(|(file, line)| format!("{file}:{line}")),
            hits: total.hits,
            last_ms: (total.hits > 0).then_some(total.last_ms),
        });
        rows.collect()
    }

    /// Takes what the kernel counted since the last time.
    fn take_rule_hits(&mut self) -> Result<(), KernelError> {
        let (now_ms, now_ns) = (clock::now_ms(), clock::boot_ns());
        let file = &mut self.controls.rule_hits;
        file.taken = Instant::now();
        for (key, hits) in self.kernel.take_rule_hits()? {
            let ago_ms = now_ns.saturating_sub(hits.last_ns) / NS_PER_MS;
            let last_ms = now_ms.saturating_sub(ago_ms);
            file.hits.count(key.generation, key.rule, hits.count, last_ms);
        }
        Ok(())
    }

    /// Takes and writes the counts, if that is due.
    pub(super) fn keep_rule_hits(&mut self, is_last: bool) {
        if !is_last && self.controls.rule_hits.taken.elapsed() < TAKE_INTERVAL {
            return;
        }
        if let Err(error) = self.take_rule_hits() {
            tracing::warn!(%error, "counts of rules cannot be read");
        }
        self.controls.rule_hits.save();
    }

    /// A policy came into force. Its numbers are written at once: another daemon may have to tell
    /// what is counted by them.
    pub(super) fn number_rules(&mut self, generation: u64, policy: &Arc<Compiled>) {
        if let Err(error) = self.take_rule_hits() {
            tracing::warn!(%error, "counts of rules cannot be read");
        }
        self.controls.rule_hits.hits.install(generation, policy);
        self.controls.rule_hits.save();
    }
}
