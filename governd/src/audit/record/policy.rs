//! The policy changed, or should have: API Activity, 6003.
//!
//! 6003 and not Device Config State Change (5019): 5019 tells the security state that a device is
//! in, while this is an operation somebody asked for, on named resources, with an outcome.

use super::{
    Host, PolicyChange, PolicyOutcome, Retention, Stamp,
    object::{self, Class},
};
use crate::audit::canonical::Object;

const ACTIVITY_CREATE: u32 = 1;
const ACTIVITY_UPDATE: u32 = 3;

pub(super) fn write(o: &mut Object<'_>, change: &PolicyChange, host: &Host, stamp: &Stamp) {
    let first = matches!(&change.outcome, PolicyOutcome::Installed { previous: None, .. });
    let activity = if first { ACTIVITY_CREATE } else { ACTIVITY_UPDATE };
    let class = Class { category: 6, class: 6003, activity };
    let (severity, status) = match &change.outcome {
        PolicyOutcome::Installed { .. } => (1_u8, 1_u8),
        PolicyOutcome::Refused { .. } => (3, 2),
    };
    o.with("activity_id", activity)
        .object("actor", |o| {
            o.with("app_name", "governd");
        })
        .object("api", |o| object::api(o, "policy.install"));
    class.uids(o);
    o.written("device", host.device())
        .with("message", message(change).as_str())
        .object("metadata", |o| object::metadata(o, &["host"], None, host, stamp));
    if !change.sources.is_empty() {
        let sources = change.sources.iter().map(|path| (path.as_str(), "policy"));
        o.objects("resources", sources, object::resource);
    }
    o.with("severity_id", severity)
        .object("src_endpoint", |o| object::this_host(o, host))
        .with("status_id", status)
        .with("time", stamp.time_ms)
        .with("type_uid", class.type_uid());
    object::unmapped(o, |o| own(o, change));
}

fn own(o: &mut Object<'_>, change: &PolicyChange) {
    let policy = change.policy.as_ref();
    match &change.outcome {
        PolicyOutcome::Installed { previous, agents, rules } => o
            .with("agents", *agents)
            .with("outcome", "installed")
            .maybe_object("policy", policy, object::policy)
            .maybe_object("previous", previous.as_ref(), object::policy)
            .with("retention", Retention::TwoYears.word())
            .with("rules", *rules),
        PolicyOutcome::Refused { errors } => o
            .list("errors", errors.iter().map(String::as_str))
            .with("outcome", "refused")
            .maybe_object("policy", policy, object::policy)
            .with("retention", Retention::TwoYears.word()),
    };
}

fn message(change: &PolicyChange) -> String {
    let in_force = change.policy.as_ref().map(|policy| policy.generation.to_string());
    match (&change.outcome, in_force) {
        (PolicyOutcome::Installed { agents, rules, .. }, generation) => {
            let generation = generation.unwrap_or_default();
            format!("policy generation {generation} in force: {agents} agents, {rules} rules")
        }
        (PolicyOutcome::Refused { errors }, Some(generation)) => {
            format!("policy refused with {} errors; generation {generation} stays", errors.len())
        }
        (PolicyOutcome::Refused { errors }, None) => {
            format!("policy refused with {} errors; none is in force", errors.len())
        }
    }
}
