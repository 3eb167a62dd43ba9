//! A DNS answer that bound addresses to a name: DNS Activity, 4003.

use super::{
    DnsAnswer, Host, Retention, Stamp,
    object::{self, Class},
};
use crate::audit::canonical::{Object, Shown};

const ACTIVITY_RESPONSE: u32 = 2;
const DIRECTION_INBOUND: u8 = 1;
const PORT_DNS: u16 = 53;
const SEVERITY_INFORMATIONAL: u8 = 1;

pub(super) fn write(o: &mut Object<'_>, answer: &DnsAnswer, host: &Host, stamp: &Stamp) {
    let class = Class { category: 4, class: 4003, activity: ACTIVITY_RESPONSE };
    let count = answer.addresses.len();
    let plural = if count == 1 { "address" } else { "addresses" };
    let (name, agent) = (&*answer.name, &*answer.subject.agent);
    let message = format_args!("{name} stands for {count} {plural} for {agent}");
    o.with("action_id", 1_u8)
        .with("activity_id", class.activity)
        .maybe_object("actor", answer.actor.as_ref(), |o, actor| {
            object::actor(o, actor, host, stamp)
        })
        .objects("answers", &answer.addresses, |o, (address, ttl_s)| {
            o.with("class", "IN")
                .with("rdata", *address)
                .with("ttl", *ttl_s)
                .with("type", if address.is_ipv4() { "A" } else { "AAAA" });
        });
    class.uids(o);
    o.object("connection_info", |o| {
        o.with("direction_id", DIRECTION_INBOUND);
    })
    .written("device", host.device())
    .with("disposition_id", 1_u8)
    .object("dst_endpoint", |o| object::this_host(o, host))
    .with("message", Shown(message))
    .object("metadata", |o| {
        object::metadata(o, &["host", "security_control"], None, host, stamp);
    })
    .object("query", |o| question(o, name, answer.question_type))
    .with("rcode_id", 0_u8)
    .with("severity_id", SEVERITY_INFORMATIONAL)
    .object("src_endpoint", |o| {
        o.with("ip", answer.resolver).with("port", PORT_DNS);
    })
    .with("status_id", 1_u8)
    .with("time", stamp.time_ms)
    .with("type_uid", class.type_uid());
    object::unmapped(o, |o| own(o, answer));
}

fn own(o: &mut Object<'_>, answer: &DnsAnswer) {
    o.object("agent", |o| object::agent(o, &answer.subject));
    if let Some(actor) = &answer.actor {
        o.objects("lineage", actor.lineage.iter(), object::ancestor);
    }
    o.object("policy", |o| object::policy(o, &answer.policy))
        .maybe_object("process", answer.actor.as_ref(), object::process_facts)
        .with("retention", Retention::HalfYear.word());
}

/// What is asked.
pub(super) fn question(o: &mut Object<'_>, name: &str, question_type: u16) {
    o.with("class", "IN").with("hostname", name);
    match question_type {
        1 => o.with("type", "A"),
        28 => o.with("type", "AAAA"),
        // RFC 3597 section 5.
        other => o.with("type", Shown(format_args!("TYPE{other}"))),
    };
}
