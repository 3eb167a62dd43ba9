//! The log deleted its oldest records: API Activity, 6003, as for what governd does to its policy.

use serde_json::{Value, json};

use super::{
    Context, Deleted, Stamp,
    object::{self, Class, Object},
};
use crate::audit::canonical::integer;

const ACTIVITY_DELETE: u32 = 4;
const SEVERITY_INFORMATIONAL: u8 = 1;

pub(super) fn value(deleted: &Deleted, context: &Context, stamp: &Stamp) -> Value {
    let Deleted { kept_from, records, bytes } = *deleted;
    let class = Class { category: 6, class: 6003, activity: ACTIVITY_DELETE };
    let own = Object::default()
        .with("bytes", integer(bytes))
        .with("kept_from", integer(kept_from))
        .with("records", integer(records));
    let message = format!("the log deleted {records} records, and begins with {kept_from}");
    object::base(&class, SEVERITY_INFORMATIONAL, &["host"], context, stamp)
        .with("actor", json!({"app_name": "governd"}))
        .with("api", json!({"operation": "log.delete", "service": {"name": "governd"}}))
        .with("message", message)
        .with("src_endpoint", json!({"hostname": &*context.hostname}))
        .with("status_id", 1)
        .with("unmapped", json!({"governd": {"retention": Value::from(own)}}))
        .into()
}
