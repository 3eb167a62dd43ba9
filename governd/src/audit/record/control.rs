//! Somebody decided something at run time, or is asked to: API Activity, 6003.

use std::sync::Arc;

use super::{
    Actor, Host, Retention, Stamp,
    object::{self, Class},
};
use crate::audit::{
    canonical::{Object, Shown},
    keys::{self, Handover},
};

/// What was decided about what somebody asked for, or ordered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ruling {
    /// A person is asked.
    Delayed,
    /// A person granted it.
    Approved,
    /// A person refused it.
    Rejected,
    /// A grant ended.
    Revoked,
    /// An agent was quarantined.
    Quarantined,
    /// It was released.
    Restored,
    /// Somebody changed how the policy is carried out.
    Changed,
    /// The same, so that less is stopped.
    Loosened,
    /// The kernel decided as it has to.
    Tested,
    /// It did not.
    TestFailed,
}

/// A user of this host.
#[derive(Clone, Debug)]
pub struct By {
    /// User id of the process that asked.
    pub uid: u32,
    /// Its name, where the host knows it.
    pub name: Option<Arc<str>>,
    /// The user who logged in, whoever the process runs as.
    pub login_uid: Option<u32>,
}

/// Somebody decided something at run time, or is asked to: API Activity, 6003.
#[derive(Clone, Debug)]
pub struct Control {
    /// What, such as `grant.revoke`.
    pub operation: &'static str,
    /// What came out.
    pub ruling: Ruling,
    /// The agent it is about; the host, if it is about every agent.
    pub agent: Option<Arc<str>>,
    /// The destination it is about, with port and protocol.
    pub destination: Option<Arc<str>>,
    /// What all records of one request have in common.
    pub correlation: Option<Arc<str>>,
    /// Who did it; governd itself, if nobody and no process did.
    pub by: Option<By>,
    /// The process that is the cause of it.
    pub actor: Option<Actor>,
    /// One sentence.
    pub message: Arc<str>,
}

const ACTIVITY_CREATE: u32 = 1;
const ACTIVITY_UPDATE: u32 = 3;
const STATUS_SUCCESS: u8 = 1;
const STATUS_FAILURE: u8 = 2;

/// OCSF's action, disposition and severity.
const fn ruled(ruling: Ruling) -> (u8, u8, u8) {
    match ruling {
        Ruling::Delayed => (2, 14, 3),
        Ruling::Approved => (1, 8, 1),
        Ruling::Rejected => (2, 25, 2),
        Ruling::Revoked => (2, 24, 2),
        Ruling::Quarantined => (2, 3, 4),
        Ruling::Restored => (1, 9, 2),
        Ruling::Changed => (4, 7, 2),
        Ruling::Loosened => (4, 7, 3),
        Ruling::Tested => (3, 17, 1),
        Ruling::TestFailed => (3, 19, 6),
    }
}

pub(super) fn write(
    o: &mut Object<'_>,
    control: &Control,
    rotation: Option<&Handover>,
    host: &Host,
    stamp: &Stamp,
) {
    let Control { operation, ruling, agent, destination, correlation, message, .. } = control;
    let is_new = matches!(ruling, Ruling::Delayed | Ruling::Approved | Ruling::Quarantined);
    let activity = if is_new { ACTIVITY_CREATE } else { ACTIVITY_UPDATE };
    let class = Class { category: 6, class: 6003, activity };
    let (action, disposition, severity) = ruled(*ruling);
    let has_failed = *ruling == Ruling::TestFailed;
    let about = match agent {
        Some(agent) => (&**agent, "agent"),
        None => (&*host.hostname, "host"),
    };
    let to = destination.as_deref().map(|to| (to, "destination"));
    o.with("action_id", action)
        .with("activity_id", activity)
        .object("actor", |o| who(o, control, host, stamp))
        .object("api", |o| object::api(o, operation));
    class.uids(o);
    o.written("device", host.device())
        .with("disposition_id", disposition)
        .with("message", &**message)
        .object("metadata", |o| {
            let profiles = ["host", "security_control"];
            object::metadata(o, &profiles, correlation.as_deref(), host, stamp);
        })
        .objects("resources", std::iter::once(about).chain(to), object::resource)
        .with("severity_id", severity)
        .object("src_endpoint", |o| object::this_host(o, host))
        .with("status_id", if has_failed { STATUS_FAILURE } else { STATUS_SUCCESS })
        .with("time", stamp.time_ms)
        .with("type_uid", class.type_uid());
    object::unmapped(o, |o| {
        own(o, control);
        if let Some(handover) = rotation {
            keys::write(o, handover);
        }
    });
}

fn who(o: &mut Object<'_>, control: &Control, host: &Host, stamp: &Stamp) {
    match (&control.by, &control.actor) {
        (Some(by), _) => {
            o.object("user", |o| {
                o.maybe("name", stamp.tokens.user).with("uid", Shown(by.uid));
            });
        }
        (None, Some(process)) => object::actor(o, process, host, stamp),
        (None, None) => {
            o.with("app_name", "governd");
        }
    }
}

fn own(o: &mut Object<'_>, control: &Control) {
    let Control { agent, destination, correlation, by, actor, .. } = control;
    o.maybe("agent", agent.as_deref()).maybe("destination", destination.as_deref());
    if let Some(actor) = actor {
        o.objects("lineage", actor.lineage.iter(), object::ancestor);
    }
    o.maybe("login_uid", by.as_ref().and_then(|by| by.login_uid))
        .maybe("request", correlation.as_deref())
        .with("retention", Retention::TwoYears.word());
}
