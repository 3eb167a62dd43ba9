//! governd started or stopped: Application Lifecycle, 6002.

use super::{
    Degraded, Host, Lifecycle, Phase, Retention, Stamp,
    flow::mode_word,
    object::{self, Class},
};
use crate::audit::canonical::{Object, Plain};

const ACTIVITY_START: u32 = 3;
const ACTIVITY_STOP: u32 = 4;

pub(super) fn write(o: &mut Object<'_>, lifecycle: &Lifecycle, host: &Host, stamp: &Stamp) {
    let (activity, severity, message) = match &lifecycle.phase {
        Phase::Start if host.degraded.is_empty() => {
            (ACTIVITY_START, 1_u8, "governd started".to_owned())
        }
        Phase::Start => {
            let words: Vec<_> = host.degraded.iter().map(|degraded| degraded.what).collect();
            let message = format!("governd started, degraded by this kernel: {}", words.join(", "));
            (ACTIVITY_START, 2, message)
        }
        Phase::Stop { reason, stays_attached } => {
            // A stop that leaves the host without enforcement is worth a look.
            let severity = if *stays_attached { 1 } else { 2 };
            (ACTIVITY_STOP, severity, format!("governd stopped: {reason}"))
        }
    };
    let class = Class { category: 6, class: 6002, activity };
    o.with("activity_id", activity).written("app", host.product());
    class.uids(o);
    o.written("device", host.device())
        .with("message", message.as_str())
        .object("metadata", |o| object::metadata(o, &["host"], None, host, stamp))
        .with("severity_id", severity)
        .with("status_id", 1_u8)
        .with("time", stamp.time_ms)
        .with("type_uid", class.type_uid());
    object::unmapped(o, |o| own(o, lifecycle, &host.degraded));
}

fn own(o: &mut Object<'_>, lifecycle: &Lifecycle, degraded: &[Degraded]) {
    let Lifecycle { phase, pid, mode, policy } = lifecycle;
    let stop = match phase {
        Phase::Start if !degraded.is_empty() => {
            o.array("degraded", degraded, pair);
            None
        }
        Phase::Start => None,
        Phase::Stop { reason, stays_attached } => Some((&**reason, *stays_attached)),
    };
    o.with("mode", mode_word(*mode))
        .with("pid", *pid)
        .maybe_object("policy", policy.as_ref(), object::policy)
        .maybe("reason", stop.map(|(reason, _)| reason))
        .with("retention", Retention::TwoYears.word())
        .maybe("stays_attached", stop.map(|(_, stays)| stays));
}

fn pair(out: &mut String, degraded: &Degraded) {
    out.push('[');
    degraded.what.write(out);
    out.push(',');
    degraded.detail.write(out);
    out.push(']');
}
