//! Modes that people set at run time, in the place of what documents say.

use std::collections::BTreeMap;

use governd_common::verdict::Mode;
use serde::{Deserialize, Serialize};

use crate::policy::{compile::delegation, image::Compiled};

/// A mode, as it is written down.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetMode {
    /// Nothing is stopped.
    Monitor,
    /// Denials are carried out.
    Enforce,
}

impl From<SetMode> for Mode {
    fn from(mode: SetMode) -> Self {
        match mode {
            SetMode::Monitor => Self::Monitor,
            SetMode::Enforce => Self::Enforce,
        }
    }
}

/// What somebody set.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ModeSet {
    /// For this agent; for everybody, if absent.
    pub agent: Option<String>,
    /// The mode.
    pub mode: SetMode,
    /// Who did.
    pub by: String,
    /// When, in milliseconds since the epoch.
    pub since_ms: u64,
}

/// All that is set. What is set for an agent counts before what is set for everybody.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Modes {
    everybody: Option<ModeSet>,
    agents: BTreeMap<String, ModeSet>,
}

impl Modes {
    /// Sets a mode for an agent or for everybody.
    pub fn set(&mut self, set: ModeSet) {
        match set.agent.clone() {
            Some(agent) => drop(self.agents.insert(agent, set)),
            None => self.everybody = Some(set),
        }
    }

    /// Lets the documents say it again. False if nothing was set.
    pub fn unset(&mut self, agent: Option<&str>) -> bool {
        match agent {
            Some(agent) => self.agents.remove(agent).is_some(),
            None => self.everybody.take().is_some(),
        }
    }

    /// Everything that is set, that for everybody first.
    pub fn all(&self) -> impl Iterator<Item = &ModeSet> {
        self.everybody.iter().chain(self.agents.values())
    }

    /// Puts the modes in the place of a policy's own.
    pub fn apply(&self, compiled: &mut Compiled) {
        for agent in &mut compiled.agents {
            let set = self.agents.get(&*agent.name).filter(|_| agent.subject != 0);
            let Some(set) = set.or(self.everybody.as_ref()) else { continue };
            agent.mode = set.mode.into();
            let settings = compiled.image.subjects.iter_mut();
            for (_, settings) in settings.filter(|(subject, _)| *subject == agent.subject) {
                settings.mode = agent.mode as u8;
            }
        }
        delegation::settle(compiled);
    }
}

#[cfg(test)]
mod tests {
    use governd_common::table::Subject;

    use super::*;
    use crate::policy::image::AgentFacts;

    fn policy() -> Compiled {
        let mut compiled = Compiled::default();
        let names =
            [(0, "unregistered", Mode::Monitor), (1, "a", Mode::Monitor), (2, "b", Mode::Enforce)];
        for (subject, name, mode) in names {
            compiled.agents.push(AgentFacts::unknown(subject, name, mode));
            let settings = Subject {
                mode: mode as u8,
                default_verdict: 0,
                flags: 0,
                default_rule: 0,
                members: Subject::ALONE,
            };
            compiled.image.subjects.push((subject, settings));
        }
        compiled
    }

    #[test]
    fn an_agents_own_mode_counts_before_everybodys() {
        use Mode::{Enforce, Monitor};
        let set = |agent: Option<&str>, mode| ModeSet {
            agent: agent.map(str::to_owned),
            mode,
            by: "dana".into(),
            since_ms: 1,
        };
        let rows: [(&[ModeSet], [Mode; 3]); 5] = [
            (&[], [Monitor, Monitor, Enforce]),
            (&[set(None, SetMode::Enforce)], [Enforce; 3]),
            (&[set(Some("a"), SetMode::Enforce)], [Monitor, Enforce, Enforce]),
            (
                &[set(None, SetMode::Monitor), set(Some("b"), SetMode::Enforce)],
                [Monitor, Monitor, Enforce],
            ),
            // Nobody is called so.
            (&[set(Some("unregistered"), SetMode::Enforce)], [Monitor, Monitor, Enforce]),
        ];
        for (sets, expected) in rows {
            let mut modes = Modes::default();
            sets.iter().cloned().for_each(|set| modes.set(set));
            let mut compiled = policy();
            modes.apply(&mut compiled);
            let facts: Vec<Mode> = compiled.agents.iter().map(|agent| agent.mode).collect();
            let tables = compiled.image.subjects.iter();
            let tables: Vec<Mode> =
                tables.map(|(_, settings)| Mode::from_byte(settings.mode)).collect();
            assert_eq!((facts.as_slice(), tables.as_slice()), (&expected[..], &expected[..]));
        }
    }
}
