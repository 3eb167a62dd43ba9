//! The log deleted its oldest records: API Activity, 6003, as for what governd does to its policy.

use super::{
    Deleted, Host, Stamp,
    object::{self, Class},
};
use crate::audit::canonical::{Object, Shown};

const ACTIVITY_DELETE: u32 = 4;
const SEVERITY_INFORMATIONAL: u8 = 1;

pub(super) fn write(o: &mut Object<'_>, deleted: &Deleted, host: &Host, stamp: &Stamp) {
    let Deleted { kept_from, records, bytes } = *deleted;
    let class = Class { category: 6, class: 6003, activity: ACTIVITY_DELETE };
    let message = format_args!("the log deleted {records} records, and begins with {kept_from}");
    o.with("activity_id", class.activity)
        .object("actor", |o| {
            o.with("app_name", "governd");
        })
        .object("api", |o| object::api(o, "log.delete"));
    class.uids(o);
    o.written("device", host.device())
        .with("message", Shown(message))
        .object("metadata", |o| object::metadata(o, &["host"], None, host, stamp))
        .with("severity_id", SEVERITY_INFORMATIONAL)
        .object("src_endpoint", |o| object::this_host(o, host))
        .with("status_id", 1_u8)
        .with("time", stamp.time_ms)
        .with("type_uid", class.type_uid());
    object::unmapped(o, |o| {
        o.object("retention", |o| {
            o.with("bytes", bytes).with("kept_from", kept_from).with("records", records);
        });
    });
}
