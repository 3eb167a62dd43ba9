//! A DNS query that the policy refuses: DNS Activity, 4003.

use super::{
    DnsQuery, Host, Stamp, dns, flow,
    object::{self, Class},
};
use crate::audit::canonical::{Object, Shown};

const ACTIVITY_QUERY: u32 = 1;

pub(super) fn write(o: &mut Object<'_>, query: &DnsQuery, host: &Host, stamp: &Stamp) {
    let DnsQuery { flow, name, question_type } = query;
    let outcome = flow::outcome(&flow.decision);
    let class = Class { category: 4, class: 4003, activity: ACTIVITY_QUERY };
    let rule = flow.decision.rule.as_ref();
    let rule_word = rule.map_or("no rule", |rule| &*rule.id);
    let asked = if name.is_empty() { "an unreadable name" } else { &**name };
    let (word, agent, reason) = (outcome.word, &flow.subject.agent, flow.decision.reason.word());
    let message = format_args!("{word} {agent} to ask for {asked}: {reason}, {rule_word}");
    o.with("action_id", outcome.action)
        .with("activity_id", class.activity)
        .object("actor", |o| object::actor(o, &flow.actor, host, stamp));
    class.uids(o);
    o.object("connection_info", |o| flow::connection(o, flow))
        .written("device", host.device())
        .with("disposition_id", outcome.disposition)
        .maybe_object("dst_endpoint", flow.destination.as_ref(), object::endpoint)
        .maybe_object("firewall_rule", rule, flow::firewall_rule)
        .with("message", Shown(message))
        .object("metadata", |o| {
            object::metadata(o, &["host", "security_control"], None, host, stamp);
        })
        .object("policy", |o| flow::policy(o, flow))
        .object("query", |o| dns::question(o, name, *question_type))
        .with("severity_id", outcome.severity)
        .object("src_endpoint", |o| object::this_host(o, host))
        .with("status_id", outcome.status)
        .with("time", stamp.time_ms)
        .with("type_uid", class.type_uid());
    object::unmapped(o, |o| flow::own(o, flow, host, stamp));
}
