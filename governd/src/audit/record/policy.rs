//! The policy changed, or should have: API Activity, 6003.
//!
//! 6003 and not Device Config State Change (5019): 5019 tells the security state that a device is
//! in, while this is an operation somebody asked for, on named resources, with an outcome.

use serde_json::{Value, json};

use super::{
    Context, PolicyChange, PolicyOutcome, Stamp,
    object::{self, Class, Object},
};

const ACTIVITY_CREATE: u32 = 1;
const ACTIVITY_UPDATE: u32 = 3;

pub(super) fn value(change: &PolicyChange, context: &Context, stamp: &Stamp) -> Value {
    let first = matches!(&change.outcome, PolicyOutcome::Installed { previous: None, .. });
    let activity = if first { ACTIVITY_CREATE } else { ACTIVITY_UPDATE };
    let class = Class { category: 6, class: 6003, activity };
    let (severity, status) = match &change.outcome {
        PolicyOutcome::Installed { .. } => (1, 1),
        PolicyOutcome::Refused { .. } => (3, 2),
    };
    let resources: Vec<Value> =
        change.sources.iter().map(|path| json!({"name": path, "type": "policy"})).collect();
    let api = json!({"operation": "policy.install", "service": {"name": "governd"}});
    object::base(&class, severity, &["host"], context, stamp)
        .with("actor", json!({"app_name": "governd"}))
        .with("api", api)
        .with("message", message(change))
        .maybe("resources", (!resources.is_empty()).then_some(resources))
        .with("src_endpoint", json!({"hostname": &*context.hostname}))
        .with("status_id", status)
        .with("unmapped", json!({"governd": Value::from(own(change))}))
        .into()
}

fn own(change: &PolicyChange) -> Object {
    let own = Object::default().maybe("policy", change.policy.as_ref().map(object::policy));
    match &change.outcome {
        PolicyOutcome::Installed { previous, agents, rules } => own
            .with("agents", *agents)
            .with("outcome", "installed")
            .maybe("previous", previous.as_ref().map(object::policy))
            .with("rules", *rules),
        PolicyOutcome::Refused { errors } => {
            own.with("errors", errors.clone()).with("outcome", "refused")
        }
    }
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
