//! What holds for who may yet turn out to be an agent: cgroups that user space has not looked at,
//! and containers of which nobody told what they are.
//!
//! It is there only where some agent is recognised by what user space has to find out, and where
//! `unregistered` lets through what `unclassified` does not.

use governd_common::{
    limits::SELECTORS_MAX,
    table::{SocketOwner, Subject, settings_flag, subject_flag},
    verdict::Verdict,
};

use super::{Compiler, selectors::set_bit};
use crate::policy::{
    host::Host,
    image::AgentFacts,
    limits::{CGROUPS_MAX, SUBJECTS_MAX},
    model::Agent,
    value::{Posture, Tier, Unclassified, name::HostPattern},
};

/// What records and `explain` call it.
const NAME: &str = "unclassified";

impl Compiler<'_, '_> {
    /// Their subject. After the agents, for the catalogue's rules to have their places.
    pub(super) fn unclassified(&mut self, endpoints: &[(HostPattern, &str)], agents: &[Agent]) {
        let is_found = |agent: &Agent| {
            agent.matches.iter().any(|one| one.cgroup.is_some() || !one.container.is_empty())
        };
        let is_stricter = self.host.unclassified == Unclassified::DenyAi
            && self.host.unregistered == Posture::Monitor;
        let image = &self.compiled.image;
        let has_place = image.subjects.len() < SUBJECTS_MAX;
        if !is_stricter || !has_place || !agents.iter().any(is_found) {
            return;
        }
        let subject = SocketOwner::UNCLASSIFIED;
        let why = "unclassified: deny-ai";
        let place = self.host.place.clone();
        let id = format!("{NAME}/default");
        let default_rule = self.rule(&id, subject, why.to_owned(), Tier::Allow, place);
        self.ai_rules(subject, &format!("{NAME}/ai/"), Tier::Deny, why, endpoints);
        let mode = self.mode.unwrap_or(self.host.mode);
        let mut flags = subject_flag::LOOPBACK
            | subject_flag::QUIET_DEFAULT
            | subject_flag::RAW_SOCKETS
            | subject_flag::LOCAL_SOCKETS;
        if !endpoints.is_empty() {
            flags |= subject_flag::NAME_DENIALS;
        }
        let settings = Subject {
            mode: mode as u8,
            default_verdict: Verdict::Allow as u8,
            flags,
            default_rule,
            members: Subject::ALONE,
        };
        let Compiler { compiled, .. } = self;
        compiled.image.subjects.push((subject, settings));
        compiled.started.push(AgentFacts::unknown(subject, NAME, mode));
        // An agent that is recognised at its exec alone could have begun before that.
        compiled.image.flags |=
            settings_flag::HAS_UNCLASSIFIED | settings_flag::CLASSIFY_AT_CONNECT;
    }

    /// A selector behind all others for containers that are known and of which nobody told.
    pub(super) fn unclassified_cgroups(&mut self, host: &dyn Host) {
        if !self.compiled.has_unclassified() {
            return;
        }
        let cgroups = host.unclassified();
        let image = &mut self.compiled.image;
        let index = image.selectors.len();
        if index >= SELECTORS_MAX {
            let what = "match entries, with the one that `unclassified` takes";
            self.limit_count(index + 1, SELECTORS_MAX, what);
            return;
        }
        if cgroups.is_empty() {
            return;
        }
        image.selectors.push(SocketOwner::UNCLASSIFIED);
        image.selector_words = image.selectors.len().div_ceil(64) as u32;
        let [any_exe, any_uid, any_cgroup] = &mut image.any;
        set_bit(any_exe, index);
        set_bit(any_uid, index);
        image.exes.iter_mut().for_each(|(_, set)| set_bit(set, index));
        image.uids.iter_mut().for_each(|(_, set)| set_bit(set, index));
        image.parents.iter_mut().for_each(|(_, set)| set_bit(set, index));
        for id in cgroups {
            match image.cgroups.iter_mut().find(|(known, _)| *known == id) {
                Some((_, set)) => set_bit(set, index),
                None => {
                    let mut set = *any_cgroup;
                    set_bit(&mut set, index);
                    image.cgroups.push((id, set));
                }
            }
        }
        image.cgroups.sort_by_key(|(id, _)| *id);
        self.limit_count(self.compiled.image.cgroups.len(), CGROUPS_MAX, "cgroups");
    }
}
