//! What governd found out: Detection Finding, 2004.

use super::{
    Confidence, Finding, Host, Retention, Stamp, flow,
    object::{self, Class},
};
use crate::audit::canonical::Object;

const ACTIVITY_CREATE: u32 = 1;
const ACTION_OBSERVED: u8 = 3;
const DISPOSITION_ALERT: u8 = 19;
const ANALYTIC_RULE: u8 = 1;
const SEVERITY_FATAL: u8 = 6;

pub(super) fn write(o: &mut Object<'_>, finding: &Finding, host: &Host, stamp: &Stamp) {
    let class = Class { category: 2, class: 2004, activity: ACTIVITY_CREATE };
    let severity = finding.severity.clamp(1, SEVERITY_FATAL);
    let confidence = match finding.confidence {
        Confidence::Low => 1_u8,
        Confidence::Medium => 2,
        Confidence::High => 3,
    };
    let is_about = finding.actor.is_some() || finding.destination.is_some();
    o.with("action_id", ACTION_OBSERVED).with("activity_id", class.activity);
    class.uids(o);
    o.with("confidence_id", confidence)
        .written("device", host.device())
        .with("disposition_id", DISPOSITION_ALERT);
    if is_about {
        o.objects("evidences", [finding], |o, finding| evidence(o, finding, host, stamp));
    }
    o.object("finding_info", |o| info(o, finding, stamp))
        .with("is_alert", severity >= 3)
        .with("message", &*finding.title)
        .object("metadata", |o| {
            object::metadata(o, &["host", "security_control"], None, host, stamp);
        })
        .with("severity_id", severity)
        .with("status_id", 1_u8)
        .with("time", stamp.time_ms)
        .with("type_uid", class.type_uid());
    object::unmapped(o, |o| own(o, finding));
}

fn info(o: &mut Object<'_>, finding: &Finding, stamp: &Stamp) {
    o.object("analytic", |o| {
        o.with("name", &*finding.kind).with("type_id", ANALYTIC_RULE).with("uid", &*finding.kind);
    })
    .with("first_seen_time", finding.first_seen_ms)
    .with("last_seen_time", stamp.time_ms)
    .with("title", &*finding.title)
    .with("uid", &*finding.uid);
}

fn evidence(o: &mut Object<'_>, finding: &Finding, host: &Host, stamp: &Stamp) {
    o.maybe_object("actor", finding.actor.as_ref(), |o, actor| {
        object::actor(o, actor, host, stamp)
    })
    .maybe_object("dst_endpoint", finding.destination.as_ref(), object::endpoint);
}

fn own(o: &mut Object<'_>, finding: &Finding) {
    let to = finding.destination.as_ref();
    o.maybe_object("agent", finding.subject.as_deref(), object::agent)
        .list("evidence", finding.evidence.iter().map(String::as_str))
        .with("kind", &*finding.kind);
    if let Some(actor) = &finding.actor {
        o.objects("lineage", actor.lineage.iter(), object::ancestor);
    }
    o.maybe_object("name", to, flow::name)
        .maybe_object("process", finding.actor.as_ref(), object::process_facts)
        .with("retention", Retention::TwoYears.word())
        .maybe("service", to.and_then(|to| to.service.as_deref()));
}
