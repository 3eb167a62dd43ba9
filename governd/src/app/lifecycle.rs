//! When approvals end: the time that counts, which agents have drifted, and their file.
//!
//! The time never goes back: the latest that was ever seen counts, or a clock that is set back
//! would approve an agent again. It is written when an approval ends, and every hour.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    clock, controls,
    engine::{Engine, InstallError},
    rulebook::Rulebook,
};
use crate::{
    audit::record::{Confidence, Finding, Record},
    core::inventory::{Agent, AgentState},
    policy::{
        image::Compiled,
        lifecycle::{self, Lapse},
        model::Policy,
        value::approval::Fallback,
    },
    settings::{LIFECYCLE_FILE, Settings},
};

/// How much time may pass until the latest is written.
const SAVE_INTERVAL_MS: u64 = 60 * 60 * 1_000;
/// OCSF's severities.
const SEVERITY_MEDIUM: u8 = 3;
const SEVERITY_HIGH: u8 = 4;

/// What decides whether approvals hold.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// The latest time that was seen, in milliseconds since the epoch.
    latest_ms: u64,
    /// Agents that are not what was approved.
    drifted: BTreeSet<String>,
}

impl Standing {
    /// Approvals of a policy that do not hold.
    pub fn lapses(&self, policy: &Policy) -> Vec<Lapse> {
        lifecycle::lapses(policy, self.latest_ms, &|agent| self.drifted.contains(agent))
    }

    fn pass(&mut self, now_ms: u64) {
        self.latest_ms = self.latest_ms.max(now_ms);
    }
}

/// The standing and its file.
#[derive(Debug)]
pub(super) struct LifecycleFile {
    standing: Standing,
    saved: Standing,
    path: PathBuf,
    is_failing: bool,
}

/// When approvals ended cannot be read: starting without it could approve agents again.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct LifecycleError {
    path: PathBuf,
    source: io::Error,
}

impl LifecycleError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        "run as root on a working file system, or name another state directory with --state-dir; \
         a damaged file may be moved away, and approvals then hold by the clock alone"
    }
}

impl LifecycleFile {
    /// Reads the file, if there is one, and has the policy know what it says.
    ///
    /// # Errors
    /// It cannot be read or is not what was written.
    pub(super) fn open(
        settings: &Settings,
        rulebook: &mut Rulebook,
    ) -> Result<Self, LifecycleError> {
        let path = settings.state_dir.join(LIFECYCLE_FILE);
        let file = Self::read(&path, clock::now_ms())
            .map_err(|source| LifecycleError { path: path.clone(), source })?;
        rulebook.set_standing(&file.standing);
        Ok(file)
    }

    fn read(path: &Path, now_ms: u64) -> io::Result<Self> {
        let saved: Standing = match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Standing::default(),
            Err(error) => return Err(error),
        };
        let mut standing = saved.clone();
        standing.pass(now_ms);
        Ok(Self { standing, saved, path: path.to_path_buf(), is_failing: false })
    }

    /// Writes what changed, and the time if it has not been written for long.
    fn save(&mut self, is_urgent: bool) {
        let passed_ms = self.standing.latest_ms.saturating_sub(self.saved.latest_ms);
        let has_changed = self.standing.drifted != self.saved.drifted;
        if !is_urgent && !has_changed && passed_ms < SAVE_INTERVAL_MS {
            return;
        }
        let text = serde_json::to_string(&self.standing).map_err(io::Error::from);
        match text.and_then(|text| controls::write(&self.path, &text)) {
            Ok(()) => {
                self.saved = self.standing.clone();
                self.is_failing = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let path = self.path.display();
                    tracing::error!(%error, %path, "the end of approvals is not written");
                }
            }
        }
    }
}

impl Engine {
    /// Time passes, and agents drift: approvals end, and the tables change with them.
    pub(super) fn pass_approvals(&mut self) {
        let drifted = |agent: &&Agent| agent.state == AgentState::Drifted;
        let agents = self.discovery.inventory.agents().filter(drifted);
        let drifted =
            agents.filter_map(|agent| agent.registered_as.as_deref().map(str::to_owned)).collect();
        let standing = &mut self.lifecycle.standing;
        standing.pass(clock::now_ms());
        standing.drifted = drifted;
        self.rulebook.set_standing(standing);
        self.lifecycle.save(false);
        if !self.rulebook.holds_other() {
            return;
        }
        let compiled = self.rulebook.recompile(&self.host).map_err(InstallError::from);
        let done = compiled.and_then(|policy| match policy {
            Some(policy) => Ok(self.put_in_force(policy)?),
            None => Ok(()),
        });
        if let Err(error) = done {
            tracing::error!(%error, "approvals have ended, and the tables are as before");
        }
    }

    /// Tells of approvals that hold no more since another policy was in force.
    pub(super) fn tell_approvals(&mut self, before: &Compiled) {
        let after = Arc::clone(self.state.policy());
        let known: Vec<&Lapse> = lapses(before).collect();
        let new = lapses(&after).filter(|lapse| !known.contains(lapse));
        new.for_each(|lapse| self.journal.record(Record::Finding(self.lapsed(lapse)), None));
        let has_changed = !lapses(&after).eq(lapses(before));
        self.lifecycle.save(has_changed);
    }

    fn lapsed(&self, lapse: &Lapse) -> Finding {
        let Lapse { agent, cause, fallback } = lapse;
        let (why, tier) = (cause.words(), fallback.word());
        let facts = self.state.policy().agents.iter().find(|facts| facts.name == *agent);
        let severity = match fallback {
            Fallback::Notify => SEVERITY_MEDIUM,
            Fallback::Approve | Fallback::Halt => SEVERITY_HIGH,
        };
        Finding {
            kind: "approval-lapsed".into(),
            uid: format!("approval-lapsed/{agent}/{tier}").into(),
            title: format!("{agent}: {why}; what it was allowed is `{tier}` from now on").into(),
            severity,
            confidence: Confidence::High,
            first_seen_ms: clock::now_ms(),
            subject: facts.map(|facts| self.state.subject(facts.subject)),
            actor: None,
            destination: None,
            evidence: facts.and_then(|facts| facts.approval.words()).into_iter().collect(),
        }
    }
}

fn lapses(policy: &Compiled) -> impl Iterator<Item = &Lapse> {
    policy.agents.iter().filter_map(|agent| agent.lapse.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T00:00:00Z.
    const DAY_MS: u64 = 1_795_305_600_000;
    const AGENT: &str = "\
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: bot}
spec:
  owner: {name: Dana Smith, mail: dana@acme.example}
  review_by: 2026-11-21
  on_drift: halt
  match: [{exe: /opt/bot}]
";

    #[test]
    fn the_time_never_goes_back_not_even_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lifecycle.json");
        let policy = crate::policy::load(&[("bot.yaml", AGENT)]).unwrap().policy;
        let mut file = LifecycleFile::read(&path, DAY_MS - 1).unwrap();
        assert!(file.standing.lapses(&policy).is_empty());
        file.standing.pass(DAY_MS);
        assert_eq!(file.standing.lapses(&policy).len(), 1);
        file.standing.pass(1);
        assert_eq!(file.standing.lapses(&policy).len(), 1);
        file.save(true);
        let mut again = LifecycleFile::read(&path, DAY_MS - 1).unwrap();
        assert_eq!(again.standing.lapses(&policy), file.standing.lapses(&policy));
        again.standing.drifted.insert("bot".into());
        assert_eq!(again.standing.lapses(&policy)[0].fallback, Fallback::Halt);
        again.save(false);
        assert_eq!(LifecycleFile::read(&path, 0).unwrap().standing, again.standing);
        fs::write(&path, "{}").unwrap();
        assert!(LifecycleFile::read(&path, 0).is_err());
    }
}
