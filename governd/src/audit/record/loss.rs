//! Something could not be recorded: Application Error, 6008.
//!
//! Application Error is OCSF's class for tools that handle OCSF events and report their own
//! trouble. It is no finding: nobody did anything. Its severity is high, since the record has a
//! gap; a torn tail is what a crash leaves, held nothing acknowledged, and is low, as are refused
//! sockets that could not be ended: nothing gets out of them.

use super::{
    Host, Loss, LossSource, Retention, Stamp,
    object::{self, Class},
};
use crate::audit::canonical::Object;

const ACTIVITY_GENERAL_ERROR: u32 = 1;
const SEVERITY_LOW: u8 = 2;
const SEVERITY_HIGH: u8 = 4;

pub(super) fn write(o: &mut Object<'_>, loss: &Loss, host: &Host, stamp: &Stamp) {
    let class = Class { category: 6, class: 6008, activity: ACTIVITY_GENERAL_ERROR };
    let severity = match loss.source {
        LossSource::TornTail | LossSource::Undestroyed => SEVERITY_LOW,
        LossSource::Kernel(_)
        | LossSource::Queue
        | LossSource::Killed
        | LossSource::Log
        | LossSource::Export => SEVERITY_HIGH,
    };
    let place = match loss.source {
        LossSource::Kernel(_) => "kernel",
        LossSource::Queue | LossSource::Killed | LossSource::Undestroyed => "daemon",
        LossSource::Log | LossSource::TornTail => "log",
        LossSource::Export => "export",
    };
    o.with("activity_id", class.activity);
    class.uids(o);
    o.written("device", host.device())
        .with("end_time", stamp.time_ms)
        .with("message", message(loss).as_str())
        .object("metadata", |o| object::metadata(o, &["host"], None, host, stamp))
        .with("severity_id", severity)
        .with("start_time", loss.since_ms)
        .with("status_code", loss.source.word())
        .with("status_id", 2_u8)
        .with("time", stamp.time_ms)
        .with("type_uid", class.type_uid());
    object::unmapped(o, |o| {
        o.object("loss", |o| {
            o.with("count", loss.count)
                .maybe("detail", loss.detail.as_deref())
                .with("place", place)
                .with("reason", loss.source.word())
                .with("since", loss.since_ms);
        })
        .with("retention", Retention::TwoYears.word());
    });
}

fn message(loss: &Loss) -> String {
    let count = loss.count;
    match loss.source {
        LossSource::Kernel(reason) => format!("kernel lost {count}: {}", reason.word()),
        LossSource::Queue => format!("{count} records discarded: the daemon could not keep up"),
        LossSource::Log => format!("{count} records lost: the log could not be written"),
        LossSource::TornTail => format!("{count} bytes cut behind the last whole record"),
        LossSource::Export => format!("{count} records were not exported"),
        LossSource::Killed => {
            format!("up to {count} events lost: the daemon was killed before they were recorded")
        }
        LossSource::Undestroyed => {
            format!("{count} refused sockets not ended: their programs wait, nothing gets out")
        }
    }
}
