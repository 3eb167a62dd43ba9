//! A DNS answer that bound addresses to a name: DNS Activity, 4003.

use serde_json::{Value, json};

use super::{
    Context, DnsAnswer, Stamp,
    object::{self, Class, Object},
};

const ACTIVITY_RESPONSE: u32 = 2;
const DIRECTION_INBOUND: u8 = 1;
const PORT_DNS: u16 = 53;

pub(super) fn value(answer: &DnsAnswer, context: &Context, stamp: &Stamp) -> Value {
    let class = Class { category: 4, class: 4003, activity: ACTIVITY_RESPONSE };
    let answers: Vec<Value> = answer
        .addresses
        .iter()
        .map(|(address, ttl_s)| {
            let kind = if address.is_ipv4() { "A" } else { "AAAA" };
            json!({"class": "IN", "rdata": address.to_string(), "ttl": ttl_s, "type": kind})
        })
        .collect();
    let own = Object::default()
        .with("agent", object::agent(&answer.subject))
        .maybe("lineage", answer.actor.as_ref().map(object::lineage))
        .with("policy", object::policy(&answer.policy))
        .maybe("process", answer.actor.as_ref().map(object::process_facts));
    object::base(&class, 1, &["host", "security_control"], context, stamp)
        .with("action_id", 1)
        .maybe("actor", answer.actor.as_ref().map(|actor| object::actor(actor, context)))
        .with("answers", answers)
        .with("connection_info", json!({"direction_id": DIRECTION_INBOUND}))
        .with("disposition_id", 1)
        .with("dst_endpoint", json!({"hostname": &*context.hostname}))
        .with("message", message(answer))
        .with("query", question(&answer.name, answer.question_type))
        .with("rcode_id", 0)
        .with("src_endpoint", json!({"ip": answer.resolver.to_string(), "port": PORT_DNS}))
        .with("status_id", 1)
        .with("unmapped", json!({"governd": Value::from(own)}))
        .into()
}

/// What is asked.
pub(super) fn question(name: &str, question_type: u16) -> Value {
    let kind = match question_type {
        1 => "A".to_owned(),
        28 => "AAAA".to_owned(),
        // RFC 3597 section 5.
        other => format!("TYPE{other}"),
    };
    json!({"class": "IN", "hostname": name, "type": kind})
}

fn message(answer: &DnsAnswer) -> String {
    let count = answer.addresses.len();
    let plural = if count == 1 { "address" } else { "addresses" };
    format!("{} stands for {count} {plural} for {}", answer.name, answer.subject.agent)
}
