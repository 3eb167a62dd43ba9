//! The log deleted its oldest records: API Activity, 6003, as for what governd does to its policy.

use super::{
    Deleted, Host, Retention, Stamp,
    object::{self, Class},
};
use crate::audit::canonical::{Object, Shown};

const ACTIVITY_DELETE: u32 = 4;
const SEVERITY_INFORMATIONAL: u8 = 1;
const SEVERITY_MEDIUM: u8 = 3;

pub(super) fn write(o: &mut Object<'_>, deleted: &Deleted, host: &Host, stamp: &Stamp) {
    let Deleted { kept_from, records, bytes, is_early } = *deleted;
    let class = Class { category: 6, class: 6003, activity: ACTIVITY_DELETE };
    let why = if is_early { ", for want of room before their time" } else { "" };
    let message =
        format_args!("the log deleted {records} records{why}, and begins with {kept_from}");
    o.with("activity_id", class.activity)
        .object("actor", |o| {
            o.with("app_name", "governd");
        })
        .object("api", |o| object::api(o, "log.delete"));
    class.uids(o);
    o.written("device", host.device())
        .with("message", Shown(message))
        .object("metadata", |o| object::metadata(o, &["host"], None, host, stamp))
        .with("severity_id", if is_early { SEVERITY_MEDIUM } else { SEVERITY_INFORMATIONAL })
        .object("src_endpoint", |o| object::this_host(o, host))
        .with("status_id", 1_u8)
        .with("time", stamp.time_ms)
        .with("type_uid", class.type_uid());
    object::unmapped(o, |o| {
        o.object("deleted", |o| {
            o.with("bytes", bytes)
                .with("early", is_early)
                .with("kept_from", kept_from)
                .with("records", records);
        })
        .with("retention", Retention::TwoYears.word());
    });
}
