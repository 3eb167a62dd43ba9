//! A tracked process executed a file: Process Activity, 1007.

use serde_json::{Value, json};

use super::{
    Context, Exec, Stamp,
    object::{self, Class, Object},
};

const ACTIVITY_LAUNCH: u32 = 1;

pub(super) fn value(exec: &Exec, context: &Context, stamp: &Stamp) -> Value {
    let class = Class { category: 1, class: 1007, activity: ACTIVITY_LAUNCH };
    let own = Object::default()
        .with("agent", object::agent(&exec.subject))
        .with("lineage", object::lineage(&exec.actor))
        .with("policy", object::policy(&exec.policy))
        .with("process", object::process_facts(&exec.actor));
    object::base(&class, 1, &["host"], context, stamp)
        .with("actor", launcher(exec))
        .with("message", message(exec))
        .with("process", object::process(&exec.actor, context))
        .with("status_id", 1)
        .with("unmapped", json!({"governd": Value::from(own)}))
        .into()
}

/// Who started it. OCSF requires an actor, so an ancestry that could not be learned is one by name.
fn launcher(exec: &Exec) -> Object {
    match object::parent(&exec.actor) {
        Some(parent) => Object::default().with("process", parent),
        None => Object::default().with("app_name", "unknown"),
    }
}

fn message(exec: &Exec) -> String {
    let process = &exec.actor.process;
    let file = match &process.exe {
        Some(exe) => exe.path.to_string_lossy(),
        None => process.name.as_str().into(),
    };
    format!("{} executed {file} as pid {}", exec.subject.agent, process.pid)
}
