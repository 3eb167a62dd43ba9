//! The OCSF objects that several classes share.
//!
//! Every function adds its fields in the order of their names, as canonical JSON has them.

use std::path::Path;

use super::{Actor, Destination, Host, OCSF_VERSION, PolicyRef, Stamp, Subject};
use crate::{
    audit::canonical::{Object, Shown},
    core::{
        process::{Ancestor, Exe, Process},
        workload::{Container, Workload},
    },
};

/// `type_id` of an operating system: Linux.
const OS_LINUX: u8 = 200;
/// `type_id` of a device: not known.
const DEVICE_UNKNOWN: u8 = 0;
/// `type_id` of a file: regular.
const FILE_REGULAR: u8 = 1;
/// `algorithm_id` of a fingerprint: SHA-256.
const HASH_SHA256: u8 = 3;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// An OCSF class and the activity in it.
pub(super) struct Class {
    pub(super) category: u32,
    pub(super) class: u32,
    pub(super) activity: u32,
}

impl Class {
    /// `category_uid` and `class_uid`.
    pub(super) fn uids(&self, o: &mut Object<'_>) {
        o.with("category_uid", self.category).with("class_uid", self.class);
    }

    /// `type_uid`.
    pub(super) fn type_uid(&self) -> u32 {
        self.class * 100 + self.activity
    }
}

/// What every record says of itself.
pub(super) fn metadata(
    o: &mut Object<'_>,
    profiles: &[&str],
    correlation: Option<&str>,
    host: &Host,
    stamp: &Stamp,
) {
    let uid = host.uid(stamp);
    let mut text = uuid::Uuid::encode_buffer();
    let uid: &str = uid.hyphenated().encode_lower(&mut text);
    o.maybe("correlation_uid", correlation)
        .with("log_name", "governd")
        .with("logged_time", stamp.logged_ms)
        .written("product", host.product())
        .list("profiles", profiles.iter().copied())
        .with("sequence", stamp.sequence)
        .with("uid", uid)
        .with("version", OCSF_VERSION);
}

/// governd as an OCSF product.
pub(super) fn product(o: &mut Object<'_>, version: &str) {
    o.with("name", "governd").with("vendor_name", "governd").with("version", version);
}

/// The host as an OCSF device.
pub(super) fn device(o: &mut Object<'_>, context: &super::Context) {
    o.with("boot_uid", &*context.boot_id)
        .with("hostname", &*context.hostname)
        .object("os", |o| {
            o.with("kernel_release", &*context.kernel)
                .with("name", "Linux")
                .with("type_id", OS_LINUX);
        })
        .with("type_id", DEVICE_UNKNOWN)
        .maybe("uid", context.machine_id.as_deref());
}

/// The actor of a record: its process.
pub(super) fn actor(o: &mut Object<'_>, actor: &Actor, host: &Host, stamp: &Stamp) {
    match host.prepared(actor, stamp) {
        Some(known) => o.written("process", &known.process),
        None => o.object("process", |o| process(o, actor, host, stamp)),
    };
}

/// A process with its file, user and parent.
pub(super) fn process(o: &mut Object<'_>, actor: &Actor, host: &Host, stamp: &Stamp) {
    let process = &*actor.process;
    let created_ms = host.booted_ms.saturating_add(process.started_ns / NANOS_PER_MILLI);
    o.maybe("cmd_line", stamp.tokens.command_line)
        .maybe("created_time", (process.started_ns > 0).then_some(created_ms))
        .maybe_object("file", process.exe.as_ref(), |o, exe| file(o, exe, process))
        .with("name", process.name.as_str());
    if has_parent(actor) {
        o.object("parent_process", |o| parent(o, actor));
    }
    let Process { pid, started_ns, .. } = process;
    // What identifies a process across hosts and boots.
    o.with("pid", *pid)
        .maybe_object("session", process.session, |o, session| {
            o.with("uid", Shown(session)).maybe("uid_alt", process.login.session.map(Shown));
        })
        .with("uid", Shown(format_args!("{}:{pid}:{started_ns}", host.boot_id)))
        .maybe_object("user", process.uid, |o, uid| {
            o.maybe("name", stamp.tokens.user).with("uid", Shown(uid));
        });
}

fn file(o: &mut Object<'_>, exe: &Exe, process: &Process) {
    let name = exe.path.file_name().unwrap_or(exe.path.as_os_str());
    let (major, minor) = (exe.device >> 20, exe.device & 0xf_ffff);
    if let Some(sha256) = process.sha256() {
        o.objects("hashes", [&**sha256], |o, sha256| {
            o.with("algorithm", "SHA-256").with("algorithm_id", HASH_SHA256).with("value", sha256);
        });
    }
    o.with("name", name.to_string_lossy())
        .with("path", exe.path.to_string_lossy())
        .with("type_id", FILE_REGULAR)
        .with("uid", Shown(format_args!("{major}:{minor}:{}", exe.inode)));
}

/// Whether anything is known of who started a process.
pub(super) fn has_parent(actor: &Actor) -> bool {
    !actor.lineage.is_empty() || actor.process.parent.is_some()
}

/// The nearest ancestor, or what is left of it.
pub(super) fn parent(o: &mut Object<'_>, actor: &Actor) {
    match actor.lineage.first() {
        Some(ancestor) => o.with("name", ancestor.name.as_str()).with("pid", ancestor.pid),
        None => o.maybe("pid", actor.process.parent),
    };
}

/// The destination as an endpoint.
pub(super) fn endpoint(o: &mut Object<'_>, destination: &Destination) {
    o.maybe("hostname", destination.name.as_deref())
        .with("ip", destination.address)
        .with("port", destination.port);
}

/// This host as an endpoint.
pub(super) fn this_host(o: &mut Object<'_>, host: &Host) {
    o.with("hostname", &*host.hostname);
}

/// What somebody or something did by way of governd.
pub(super) fn api(o: &mut Object<'_>, operation: &str) {
    o.with("operation", operation).object("service", |o| {
        o.with("name", "governd");
    });
}

/// Something that has a name and a type.
pub(super) fn resource(o: &mut Object<'_>, (name, kind): (&str, &str)) {
    o.with("name", name).with("type", kind);
}

/// governd's own fields of the subject.
pub(super) fn agent(o: &mut Object<'_>, subject: &Subject) {
    o.maybe("approver", subject.approver.as_deref())
        .with("id", subject.id)
        .with("name", &*subject.agent)
        .maybe("owner", subject.owner.as_deref())
        .maybe("risk", subject.risk)
        .maybe("sponsor", subject.sponsor.as_deref())
        .maybe("started_by", subject.started_by.as_deref());
}

/// governd's own fields of the policy.
pub(super) fn policy(o: &mut Object<'_>, policy: &PolicyRef) {
    o.with("digest", &*policy.digest).with("generation", policy.generation);
}

/// governd's own fields of the process: what OCSF's object has no attribute for.
pub(super) fn process_facts(o: &mut Object<'_>, actor: &Actor) {
    let process = &*actor.process;
    let workload = process.workload.as_deref();
    let in_container = workload.and_then(|it| Some((it, it.container.as_ref()?)));
    let in_pod = workload.filter(|it| it.pod.is_some() || it.pod_name().is_some());
    o.maybe("cgroup", process.cgroup.as_deref())
        .maybe("cgroup_id", process.cgroup_id.map(Shown))
        .maybe_object("container", in_container, container)
        .maybe("gid", process.gid)
        .maybe("login_session", process.login.session)
        .maybe("login_uid", process.login.uid)
        .maybe_object("pod", in_pod, pod)
        .with("started_ns", Shown(process.started_ns))
        .maybe("trace_id", process.trace.as_deref())
        .maybe("unit", workload.and_then(|it| it.unit.as_deref()));
    if unknown(actor).next().is_some() {
        o.list("unknown", unknown(actor));
    }
    o.maybe("user_unit", workload.and_then(|it| it.user_unit.as_deref()));
}

/// What every process has and could not be learned of this one, in the order of the alphabet. The
/// digest of a file comes later than the first records of who executes it.
fn unknown(actor: &Actor) -> impl Iterator<Item = &'static str> + use<> {
    let process = &*actor.process;
    let known = [
        ("arguments", process.args.is_some()),
        ("cgroup", process.cgroup.is_some()),
        ("digest", process.sha256().is_some()),
        ("executable", process.exe.is_some()),
        ("parent", has_parent(actor)),
        ("session", process.session.is_some()),
        ("user", process.uid.is_some()),
    ];
    known.into_iter().filter_map(|(what, is_known)| (!is_known).then_some(what))
}

fn container(o: &mut Object<'_>, (workload, container): (&Workload, &Container)) {
    let image = workload.image();
    o.with("id", container.id.as_str())
        .maybe("image", image.map(|image| &*image.name))
        .maybe("image_digest", image.and_then(|image| image.digest.as_deref()))
        .with("runtime", container.runtime.word());
}

fn pod(o: &mut Object<'_>, workload: &Workload) {
    let (facts, name) = (workload.pod_facts.get(), workload.pod_name());
    o.maybe("controller", facts.and_then(|facts| facts.controller.as_deref()));
    if let Some(facts) = facts.filter(|facts| !facts.labels.is_empty()) {
        let labels = facts.labels.iter().map(|(name, value)| format!("{name}={value}"));
        o.list("labels", labels.map(Shown));
    }
    o.maybe("name", name.map(|(_, name)| name))
        .maybe("namespace", name.map(|(namespace, _)| namespace))
        .maybe("service_account", facts.and_then(|facts| facts.service_account.as_deref()))
        .maybe("uid", workload.pod.as_deref());
}

/// An ancestor, as it stands in the lineage, nearest first.
pub(super) fn ancestor(o: &mut Object<'_>, ancestor: &Ancestor) {
    o.maybe("exe", ancestor.exe.as_deref().map(Path::to_string_lossy))
        .with("name", ancestor.name.as_str())
        .with("pid", ancestor.pid);
}

/// What stands below `unmapped.governd`.
pub(super) fn unmapped(o: &mut Object<'_>, own: impl FnOnce(&mut Object<'_>)) {
    o.object("unmapped", |o| {
        o.object("governd", own);
    });
}
