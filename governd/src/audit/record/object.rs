//! The OCSF objects that several classes share.

use serde_json::{Map, Value, json};

use super::{Actor, Context, Destination, OCSF_VERSION, PolicyRef, Stamp, Subject, redact};
use crate::{
    audit::canonical::integer,
    core::process::{Ancestor, Process},
};

/// `type_id` of an operating system: Linux.
const OS_LINUX: u8 = 200;
/// `type_id` of a device: not known.
const DEVICE_UNKNOWN: u8 = 0;
/// `type_id` of a file: regular.
const FILE_REGULAR: u8 = 1;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// An OCSF class and the activity in it.
pub(super) struct Class {
    pub(super) category: u32,
    pub(super) class: u32,
    pub(super) activity: u32,
}

/// A JSON object that is built field by field; what is not known is left out.
#[derive(Default)]
pub(super) struct Object(Map<String, Value>);

impl Object {
    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    pub(super) fn maybe(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object.0)
    }
}

/// The attributes that every class requires, and the device.
pub(super) fn base(
    class: &Class,
    severity: u8,
    profiles: &[&str],
    context: &Context,
    stamp: &Stamp,
) -> Object {
    let metadata = Object::default()
        .with("log_name", "governd")
        .with("logged_time", integer(stamp.logged_ms))
        .with("product", product(context))
        .with("profiles", profiles.iter().map(|name| Value::from(*name)).collect::<Vec<_>>())
        .with("sequence", integer(stamp.sequence))
        .with("uid", context.uid(stamp).to_string())
        .with("version", OCSF_VERSION);
    Object::default()
        .with("activity_id", class.activity)
        .with("category_uid", class.category)
        .with("class_uid", class.class)
        .with("device", device(context))
        .with("metadata", metadata)
        .with("severity_id", severity)
        .with("time", integer(stamp.time_ms))
        .with("type_uid", class.class * 100 + class.activity)
}

/// governd as an OCSF product.
pub(super) fn product(context: &Context) -> Value {
    json!({"name": "governd", "vendor_name": "governd", "version": &*context.version})
}

fn device(context: &Context) -> Object {
    let os = json!({"kernel_release": &*context.kernel, "name": "Linux", "type_id": OS_LINUX});
    Object::default()
        .with("boot_uid", &*context.boot_id)
        .with("hostname", &*context.hostname)
        .with("os", os)
        .with("type_id", DEVICE_UNKNOWN)
        .maybe("uid", context.machine_id.as_deref())
}

/// The actor of a record: its process.
pub(super) fn actor(actor: &Actor, context: &Context) -> Object {
    Object::default().with("process", process(actor, context))
}

/// A process with its file, user and parent.
pub(super) fn process(actor: &Actor, context: &Context) -> Object {
    let process = &*actor.process;
    let created_ms = context.booted_ms.saturating_add(process.started_ns / NANOS_PER_MILLI);
    Object::default()
        .maybe("cmd_line", process.args.as_deref().map(redact::command_line))
        .maybe("created_time", (process.started_ns > 0).then(|| integer(created_ms)))
        .maybe("file", process.exe.as_ref().map(file))
        .with("name", process.name.as_str())
        .maybe("parent_process", parent(actor))
        .with("pid", process.pid)
        .with("uid", process_uid(process, context))
        .maybe("user", user(process))
}

/// What identifies a process across hosts and boots.
fn process_uid(process: &Process, context: &Context) -> String {
    format!("{}:{}:{}", context.boot_id, process.pid, process.started_ns)
}

fn file(exe: &crate::core::process::Exe) -> Object {
    let name = exe.path.file_name().unwrap_or(exe.path.as_os_str());
    Object::default()
        .with("name", name.to_string_lossy())
        .with("path", exe.path.to_string_lossy())
        .with("type_id", FILE_REGULAR)
        .with("uid", format!("{}:{}:{}", exe.device >> 20, exe.device & 0xf_ffff, exe.inode))
}

fn user(process: &Process) -> Option<Object> {
    let uid = process.uid?;
    Some(Object::default().maybe("name", process.user.as_deref()).with("uid", uid.to_string()))
}

/// The nearest ancestor, or what is left of it.
pub(super) fn parent(actor: &Actor) -> Option<Object> {
    if let Some(ancestor) = actor.lineage.first() {
        return Some(
            Object::default().with("name", ancestor.name.as_str()).with("pid", ancestor.pid),
        );
    }
    actor.process.parent.map(|pid| Object::default().with("pid", pid))
}

/// The destination as an endpoint.
pub(super) fn endpoint(destination: &Destination) -> Object {
    Object::default()
        .maybe("hostname", destination.name.as_deref())
        .with("ip", destination.address.to_string())
        .with("port", destination.port)
}

/// governd's own fields of the subject.
pub(super) fn agent(subject: &Subject) -> Object {
    Object::default()
        .with("id", subject.id)
        .with("name", &*subject.agent)
        .maybe("owner", subject.owner.as_deref())
        .maybe("sponsor", subject.sponsor.as_deref())
        .maybe("risk", subject.risk)
        .maybe("approver", subject.approver.as_deref())
}

/// governd's own fields of the policy.
pub(super) fn policy(policy: &PolicyRef) -> Object {
    Object::default().with("digest", &*policy.digest).with("generation", integer(policy.generation))
}

/// governd's own fields of the process: what OCSF's object has no attribute for.
pub(super) fn process_facts(actor: &Actor) -> Object {
    let process = &*actor.process;
    Object::default()
        .maybe("cgroup", process.cgroup.as_deref())
        .maybe("cgroup_id", process.cgroup_id.map(|id| id.to_string()))
        .maybe("gid", process.gid)
        .with("started_ns", process.started_ns.to_string())
}

/// The lineage chain, nearest ancestor first.
pub(super) fn lineage(actor: &Actor) -> Vec<Value> {
    actor.lineage.iter().map(ancestor).collect()
}

fn ancestor(ancestor: &Ancestor) -> Value {
    Object::default()
        .maybe("exe", ancestor.exe.as_deref().map(|path| path.to_string_lossy()))
        .with("name", ancestor.name.as_str())
        .with("pid", ancestor.pid)
        .into()
}
