//! Cgroups that are new: whether an agent runs in them is to be found out.
//!
//! Constraints, where the policy says `unclassified: deny-ai`: the programs take every cgroup for
//! new whose id is larger than one number, and say in which they met somebody. That number grows to
//! one that they said only after all cgroups that there are were looked at, what was found is in
//! force, and containers of which nobody told anything in time are on a list of the policy's own.
//! As what they said was there before anybody looked, and ids only grow, no cgroup is left out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{engine::Engine, images::Unanswered};
use crate::{
    kernel::KernelError,
    policy::{host::Host as _, image::Compiled},
    workload::limits::IMAGE_TIMEOUT_MS,
};

/// How long a container's runtime has for its answer before the policy gets to know of the
/// container without it. Most answer in less, and then the policy need not be another one.
const ANSWER_PATIENCE: Duration = Duration::from_millis(IMAGE_TIMEOUT_MS);

impl Engine {
    /// What was there before a policy minds newcomers is not new.
    pub(super) fn begin_settling(&mut self, policy: &Compiled) -> Result<(), KernelError> {
        if policy.has_unclassified() && !self.kernel.minds_newcomers()? {
            self.kernel.settle(self.host.cgroup_tree().newest())?;
        }
        Ok(())
    }

    /// Containers whose image or pod became known are those of an agent, if the policy says so; and
    /// so are cgroups that came.
    pub(super) fn look_for_containers(&mut self) {
        let newcomer = self.newcomer();
        let names_containers = self.rulebook.names_containers();
        if !names_containers && newcomer.is_none() {
            return;
        }
        let mut is_news = newcomer.is_some();
        let mut left = 0;
        if names_containers {
            self.take_answers();
            let (containers, tree) = (&mut self.discovery.containers, self.host.cgroup_tree());
            containers.prune(tree);
            if newcomer.is_some() {
                left = containers.find(tree);
            }
            containers.ask_again(tree);
            is_news |= self.tell_containers();
            is_news |= self.tell_unclassified();
        }
        if is_news && self.rulebook.is_stale(&self.host) {
            self.reload();
        }
        if let Some(newcomer) = newcomer.filter(|_| left == 0)
            && let Err(error) = self.settle_up_to(newcomer)
        {
            tracing::warn!(%error, "new cgroups stay unclassified");
        }
    }

    /// Tells the host's facts of which containers nobody told in time; whether that is anything
    /// new.
    pub(super) fn tell_unclassified(&mut self) -> bool {
        if !self.rulebook.asks_unclassified() {
            return false;
        }
        let unanswered = self.unanswered().into_iter().filter(|one| !one.may_come());
        let unclassified: Arc<[u64]> = unanswered.map(|one| one.cgroup).collect();
        let is_new = *self.host.unclassified() != *unclassified;
        self.host = self.host.clone().with_unclassified(unclassified);
        is_new
    }

    fn unanswered(&mut self) -> Vec<Unanswered> {
        if !self.rulebook.names_containers() {
            return Vec::new();
        }
        self.discovery.containers.unanswered(self.host.cgroup_tree())
    }

    /// The newest cgroup that the programs met somebody in, where that is for the policy.
    fn newcomer(&self) -> Option<u64> {
        if !self.state.policy().has_unclassified() {
            return None;
        }
        let newcomer = self.kernel.newcomer();
        newcomer.inspect_err(|error| tracing::warn!(%error, "new cgroups stay so")).ok().flatten()
    }

    /// Cgroups up to this one are not new any more, nor are those before the first container that
    /// somebody may still tell of.
    fn settle_up_to(&mut self, newcomer: u64) -> Result<(), KernelError> {
        let listed = &self.state.policy().image.cgroups;
        let is_listed = |id: &u64| listed.iter().any(|(known, _)| known == id);
        // A policy that was refused has no such list.
        if !self.host.unclassified().iter().all(is_listed) {
            return Ok(());
        }
        let awaited = self.unanswered().into_iter().filter(Unanswered::may_come);
        let awaited = awaited.map(|one| one.cgroup.saturating_sub(1)).min();
        let all = awaited.map_or(newcomer, |before| before.min(newcomer));
        if all > self.kernel.settled()? {
            self.kernel.settle(all)?;
        }
        Ok(())
    }
}

impl Unanswered {
    /// Whether its runtime still has time.
    fn may_come(&self) -> bool {
        Instant::now().duration_since(self.since) < ANSWER_PATIENCE
    }
}
