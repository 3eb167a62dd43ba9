//! Processes that a governed one makes do what it wants: they count as its agent's from then on,
//! and that is a finding.

use governd_common::event::InfluenceEvent;

use super::{
    clock,
    engine::{Engine, actor},
};
use crate::{
    audit::record::Actor,
    core::{
        state::Input,
        unseen::{Deed, Unseen},
    },
};

impl Engine {
    /// A process writes another's memory; the kernel has made that one its subject's.
    pub(super) fn influence(&mut self, event: &InfluenceEvent) {
        let actor = actor(self.processes.attribute(&event.header));
        self.tell_influence(Deed::Writes, actor, event.header.subject, event.target);
    }

    fn tell_influence(&mut self, deed: Deed, actor: Actor, subject: u32, target: u32) {
        let kind = match deed {
            Deed::Traces => "traced-process",
            Deed::Has | Deed::Writes => "foreign-memory",
        };
        let name = match self.processes.process(target) {
            Some(known) => format!("{} (process {target})", known.process.name),
            None => format!("process {target}"),
        };
        let unseen = Unseen { deed, kind, name: name.into(), actor, subject };
        self.step(Input::Unseen(unseen, clock::now_ms()));
    }
}
