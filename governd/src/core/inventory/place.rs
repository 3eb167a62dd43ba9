//! Agents in containers: named by the container until its image is known, and by the image from
//! then on, which is the same when the container is made anew.

use std::sync::Arc;

use super::{
    Agent, ENDPOINTS_MAX, EVIDENCE_MAX, INSTANCES_MAX, Inventory, Key, evidence::confidence,
};

impl Inventory {
    /// What stood for a container as the place of agents is, from now on, its image. An agent that
    /// is known by the image already takes in what was known by the container.
    pub fn observe_image(&mut self, container: &str, image: &str) {
        let is_there = |agent: &&Agent| agent.key.place.as_deref() == Some(container);
        let ids: Vec<Arc<str>> =
            self.agents.values().filter(is_there).map(|agent| Arc::clone(&agent.id)).collect();
        for old in ids {
            let Some(agent) = self.agents.remove(&old) else { continue };
            let key = Key { place: Some(image.to_owned()), ..agent.key.clone() };
            let id = key.id();
            for member in self.members.values_mut().filter(|member| member.agent == old) {
                member.agent = Arc::clone(&id);
            }
            for child in self.agents.values_mut() {
                if child.parent.as_ref() == Some(&old) {
                    child.parent = Some(Arc::clone(&id));
                }
            }
            let agent = Agent { id: Arc::clone(&id), key, ..agent };
            match self.agents.get_mut(&id) {
                Some(known) => known.take_in(agent),
                None => {
                    self.agents.insert(Arc::clone(&id), agent);
                }
            }
            self.unsaved.add(&old);
            self.unsaved.add(&id);
        }
    }
}

impl Agent {
    /// Adds what was known of the same agent under another name.
    fn take_in(&mut self, other: Agent) {
        for one in other.evidence {
            let has_room = self.evidence.len() < EVIDENCE_MAX;
            let same = self.evidence.iter_mut().find(|known| {
                known.signal == one.signal && known.name == one.name && known.value == one.value
            });
            match same {
                Some(known) => {
                    known.count = known.count.saturating_add(one.count);
                    known.weight = known.weight.max(one.weight);
                    known.first_ms = known.first_ms.min(one.first_ms);
                    known.last_ms = known.last_ms.max(one.last_ms);
                }
                None if has_room => self.evidence.push(one),
                None => {}
            }
        }
        self.confidence = confidence(&self.evidence);
        for (place, one) in other.endpoints {
            if let Some(known) = self.endpoints.get_mut(&place) {
                known.count = known.count.saturating_add(one.count);
                known.denied = known.denied.saturating_add(one.denied);
                known.outside_ms = known.outside_ms.max(one.outside_ms);
                known.first_ms = known.first_ms.min(one.first_ms);
                known.last_ms = known.last_ms.max(one.last_ms);
            } else if self.endpoints.len() < ENDPOINTS_MAX {
                self.endpoints.insert(place, one);
            } else {
                self.endpoints_dropped = self.endpoints_dropped.saturating_add(one.count);
            }
        }
        let room = INSTANCES_MAX.saturating_sub(self.instances.len());
        self.instances.extend(other.instances.into_iter().take(room));
        let is_later = other.last_ms >= self.last_ms;
        if is_later {
            self.latest = other.latest.or(self.latest.take());
            self.digest = other.digest.or(self.digest.take());
        }
        if is_later && other.subject.is_some() {
            self.subject = other.subject;
            self.registered_as = other.registered_as;
            self.owner = other.owner;
        }
        self.kind = self.kind.or(other.kind);
        self.standing = self.standing.max(other.standing);
        self.is_runtime |= other.is_runtime;
        self.parent = self.parent.take().or(other.parent);
        self.instances_total = self.instances_total.saturating_add(other.instances_total);
        self.endpoints_dropped = self.endpoints_dropped.saturating_add(other.endpoints_dropped);
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
    }
}
