//! governd started or stopped: Application Lifecycle, 6002.

use serde_json::{Value, json};

use super::{
    Context, Lifecycle, Phase, Stamp,
    flow::mode_word,
    object::{self, Class, Object},
};

const ACTIVITY_START: u32 = 3;
const ACTIVITY_STOP: u32 = 4;

pub(super) fn value(lifecycle: &Lifecycle, context: &Context, stamp: &Stamp) -> Value {
    let own = Object::default()
        .with("mode", mode_word(lifecycle.mode))
        .with("pid", lifecycle.pid)
        .maybe("policy", lifecycle.policy.as_ref().map(object::policy));
    let (activity, severity, message, own) = match &lifecycle.phase {
        Phase::Start if context.degraded.is_empty() => {
            (ACTIVITY_START, 1, "governd started".to_owned(), own)
        }
        Phase::Start => {
            let degraded = context.degraded.iter();
            let words: Vec<_> = degraded.clone().map(|degraded| degraded.what).collect();
            let values = degraded.map(|degraded| json!([degraded.what, degraded.detail]));
            let message = format!("governd started, degraded by this kernel: {}", words.join(", "));
            (ACTIVITY_START, 2, message, own.with("degraded", values.collect::<Vec<_>>()))
        }
        Phase::Stop { reason, stays_attached } => {
            // A stop that leaves the host without enforcement is worth a look.
            let severity = if *stays_attached { 1 } else { 2 };
            let own = own.with("reason", &**reason).with("stays_attached", *stays_attached);
            (ACTIVITY_STOP, severity, format!("governd stopped: {reason}"), own)
        }
    };
    let class = Class { category: 6, class: 6002, activity };
    object::base(&class, severity, &["host"], context, stamp)
        .with("app", object::product(context))
        .with("message", message)
        .with("status_id", 1)
        .with("unmapped", json!({"governd": Value::from(own)}))
        .into()
}
