//! Modes that people set at run time, carried out: kept, put into force, recorded.

use super::{
    answers::{failed, ok},
    clock,
    controls::{in_words, refusal, unnamed},
    engine::{Engine, InstallError},
};
use crate::{
    audit::record::{By, Control, Record, Ruling},
    control::{
        protocol::{ErrorKind, Reply, Request},
        server::Peer,
    },
    core::modes::{ModeSet, Modes, SetMode},
};

impl Engine {
    /// Answers what people say about modes. `None` if the request is another.
    pub(super) fn answer_mode(&mut self, request: &Request, peer: Option<Peer>) -> Option<Reply> {
        Some(match request {
            Request::Modes => ok(&self.modes_set()),
            Request::SetMode { mode, agent } => {
                self.set_mode(*mode, agent.as_deref(), &self.by(peer))
            }
            _ => return None,
        })
    }

    /// What is set at run time.
    pub(super) fn modes_set(&self) -> Vec<ModeSet> {
        self.controls.controls.modes().all().cloned().collect()
    }

    /// Who set an agent's mode.
    pub(super) fn mode_set_by(&self, agent: &str) -> Option<String> {
        if self.rulebook.has_fixed_mode() {
            return None;
        }
        let mut sets: Vec<&ModeSet> = self.controls.controls.modes().all().collect();
        sets.retain(|set| set.agent.as_deref().is_none_or(|name| name == agent));
        sets.last().map(|set| set.by.clone())
    }

    fn set_mode(&mut self, mode: Option<SetMode>, agent: Option<&str>, by: &By) -> Reply {
        if self.rulebook.has_fixed_mode() {
            return Reply::Error {
                message: "the daemon was started with a mode that counts for everything".into(),
                hint: Some("start it without --mode; `governd up` always monitors".into()),
                kind: ErrorKind::BadRequest,
            };
        }
        let mut agents = self.state.policy().agents.iter().filter(|known| known.subject != 0);
        let is_known = agent.is_none_or(|agent| agents.any(|known| *known.name == *agent));
        let mut modes = self.controls.controls.modes().clone();
        let (who, since_ms) = (in_words(by), clock::now_ms());
        match mode {
            Some(_) if !is_known => {
                return refusal("no such agent", "`governd status` lists the agents");
            }
            Some(mode) => {
                modes.set(ModeSet { agent: agent.map(str::to_owned), mode, by: who, since_ms })
            }
            None if !modes.unset(agent) => {
                return refusal("no mode is set", "`governd mode show` lists what is");
            }
            None => {}
        }
        if let Err(error) = self.put_modes_in_force(&modes) {
            return failed(error);
        }
        self.controls.set_modes(modes);
        self.record_mode(mode, agent, by.clone());
        ok(&self.modes_set())
    }

    /// Those that were in force stay so if it fails.
    fn put_modes_in_force(&mut self, modes: &Modes) -> Result<(), InstallError> {
        self.rulebook.set_modes(modes.clone());
        let done = self.recompiled();
        if done.is_err() {
            self.rulebook.set_modes(self.controls.controls.modes().clone());
        }
        done
    }

    fn record_mode(&self, mode: Option<SetMode>, agent: Option<&str>, by: By) {
        let to = match mode {
            Some(SetMode::Monitor) => "monitor",
            Some(SetMode::Enforce) => "enforce",
            None => "what its documents say",
        };
        let message =
            format!("{} sets the mode of {} to {to}", unnamed(&by), agent.unwrap_or("everything"));
        let loosens = mode == Some(SetMode::Monitor);
        let record = Control {
            operation: "mode.set",
            ruling: if loosens { Ruling::Loosened } else { Ruling::Changed },
            agent: agent.map(Into::into),
            destination: None,
            correlation: None,
            by: Some(by),
            actor: None,
            message: message.into(),
        };
        self.journal.record(Record::Control(record), None);
    }
}
