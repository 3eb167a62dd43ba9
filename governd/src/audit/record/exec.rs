//! A tracked process executed a file: Process Activity, 1007.

use super::{
    Exec, Host, Retention, Stamp,
    object::{self, Class},
};
use crate::audit::canonical::{Object, Shown};

const ACTIVITY_LAUNCH: u32 = 1;
const SEVERITY_INFORMATIONAL: u8 = 1;

pub(super) fn write(o: &mut Object<'_>, exec: &Exec, host: &Host, stamp: &Stamp) {
    let class = Class { category: 1, class: 1007, activity: ACTIVITY_LAUNCH };
    let process = &exec.actor.process;
    let file = match &process.exe {
        Some(exe) => exe.path.to_string_lossy(),
        None => process.name.as_str().into(),
    };
    let agent = &exec.subject.agent;
    o.with("activity_id", class.activity).object("actor", |o| launcher(o, exec));
    class.uids(o);
    o.written("device", host.device())
        .with("message", Shown(format_args!("{agent} executed {file} as pid {}", process.pid)))
        .object("metadata", |o| object::metadata(o, &["host"], None, host, stamp))
        .object("process", |o| object::process(o, &exec.actor, host, stamp))
        .with("severity_id", SEVERITY_INFORMATIONAL)
        .with("status_id", 1_u8)
        .with("time", stamp.time_ms)
        .with("type_uid", class.type_uid());
    object::unmapped(o, |o| {
        o.object("agent", |o| object::agent(o, &exec.subject))
            .objects("lineage", exec.actor.lineage.iter(), object::ancestor)
            .object("policy", |o| object::policy(o, &exec.policy))
            .object("process", |o| object::process_facts(o, &exec.actor))
            .with("retention", Retention::HalfYear.word());
    });
}

/// Who started it. OCSF requires an actor, so an ancestry that could not be learned is one by name.
fn launcher(o: &mut Object<'_>, exec: &Exec) {
    if object::has_parent(&exec.actor) {
        o.object("process", |o| object::parent(o, &exec.actor));
    } else {
        o.with("app_name", "unknown");
    }
}
