//! What governd found out: Detection Finding, 2004.

use serde_json::{Value, json};

use super::{
    Confidence, Context, Finding, Stamp, flow,
    object::{self, Class, Object},
};
use crate::audit::canonical::integer;

const ACTIVITY_CREATE: u32 = 1;
const ACTION_OBSERVED: u8 = 3;
const DISPOSITION_ALERT: u8 = 19;
const ANALYTIC_RULE: u8 = 1;
const SEVERITY_FATAL: u8 = 6;

pub(super) fn value(finding: &Finding, context: &Context, stamp: &Stamp) -> Value {
    let class = Class { category: 2, class: 2004, activity: ACTIVITY_CREATE };
    let severity = finding.severity.clamp(1, SEVERITY_FATAL);
    let confidence = match finding.confidence {
        Confidence::Low => 1,
        Confidence::Medium => 2,
        Confidence::High => 3,
    };
    let info = json!({
        "analytic": {"name": &*finding.kind, "type_id": ANALYTIC_RULE, "uid": &*finding.kind},
        "first_seen_time": integer(finding.first_seen_ms),
        "last_seen_time": integer(stamp.time_ms),
        "title": &*finding.title,
        "uid": &*finding.uid,
    });
    let evidences = evidences(finding, context);
    object::base(&class, severity, &["host", "security_control"], context, stamp)
        .with("action_id", ACTION_OBSERVED)
        .with("confidence_id", confidence)
        .with("disposition_id", DISPOSITION_ALERT)
        .maybe("evidences", evidences.map(|evidence| vec![Value::from(evidence)]))
        .with("finding_info", info)
        .with("is_alert", severity >= 3)
        .with("message", &*finding.title)
        .with("status_id", 1)
        .with("unmapped", json!({"governd": Value::from(own(finding))}))
        .into()
}

fn evidences(finding: &Finding, context: &Context) -> Option<Object> {
    if finding.actor.is_none() && finding.destination.is_none() {
        return None;
    }
    let actor = finding.actor.as_ref().map(|actor| object::actor(actor, context));
    let endpoint = finding.destination.as_ref().map(object::endpoint);
    Some(Object::default().maybe("actor", actor).maybe("dst_endpoint", endpoint))
}

fn own(finding: &Finding) -> Object {
    let destination = finding.destination.as_ref();
    Object::default()
        .maybe("agent", finding.subject.as_ref().map(object::agent))
        .with("evidence", finding.evidence.clone())
        .with("kind", &*finding.kind)
        .maybe("lineage", finding.actor.as_ref().map(object::lineage))
        .maybe("name", destination.map(flow::name))
        .maybe("process", finding.actor.as_ref().map(object::process_facts))
        .maybe("service", destination.and_then(|to| to.service.as_deref()))
}
