//! Somebody decided something at run time, or is asked to: API Activity, 6003.

use serde_json::{Value, json};

use super::{
    Context, Control, Ruling, Stamp,
    object::{self, Class, Object},
};

const ACTIVITY_CREATE: u32 = 1;
const ACTIVITY_UPDATE: u32 = 3;
const STATUS_SUCCESS: u8 = 1;

/// OCSF's action, disposition and severity.
const fn ruled(ruling: Ruling) -> (u8, u8, u8) {
    match ruling {
        Ruling::Delayed => (2, 14, 3),
        Ruling::Approved => (1, 8, 1),
        Ruling::Rejected => (2, 25, 2),
        Ruling::Revoked => (2, 24, 2),
        Ruling::Quarantined => (2, 3, 4),
        Ruling::Restored => (1, 9, 2),
    }
}

pub(super) fn value(control: &Control, context: &Context, stamp: &Stamp) -> Value {
    let Control { operation, ruling, agent, destination, correlation, by, message, actor } =
        control;
    let is_new = matches!(ruling, Ruling::Delayed | Ruling::Approved | Ruling::Quarantined);
    let activity = if is_new { ACTIVITY_CREATE } else { ACTIVITY_UPDATE };
    let class = Class { category: 6, class: 6003, activity };
    let (action, disposition, severity) = ruled(*ruling);
    let who = match (by, actor) {
        (Some(by), _) => {
            let user = Object::default().maybe("name", by.name.as_deref());
            Object::default().with("user", user.with("uid", by.uid.to_string()))
        }
        (None, Some(process)) => object::actor(process, context),
        (None, None) => Object::default().with("app_name", "governd"),
    };
    let mut resources = vec![json!({"name": &**agent, "type": "agent"})];
    resources.extend(destination.iter().map(|to| json!({"name": &**to, "type": "destination"})));
    let own = Object::default()
        .with("agent", &**agent)
        .maybe("destination", destination.as_deref())
        .maybe("lineage", actor.as_ref().map(object::lineage))
        .maybe("login_uid", by.as_ref().and_then(|by| by.login_uid))
        .maybe("request", correlation.as_deref());
    let mut value: Value =
        object::base(&class, severity, &["host", "security_control"], context, stamp)
            .with("action_id", action)
            .with("actor", who)
            .with("api", json!({"operation": operation, "service": {"name": "governd"}}))
            .with("disposition_id", disposition)
            .with("message", &**message)
            .with("resources", resources)
            .with("src_endpoint", json!({"hostname": &*context.hostname}))
            .with("status_id", STATUS_SUCCESS)
            .with("unmapped", json!({"governd": Value::from(own)}))
            .into();
    if let (Some(uid), Some(metadata)) = (correlation, value.get_mut("metadata")) {
        metadata["correlation_uid"] = json!(&**uid);
    }
    value
}
