//! A DNS query that the policy refuses: DNS Activity, 4003.

use serde_json::{Value, json};

use super::{
    Context, DnsQuery, Stamp, dns, flow,
    object::{self, Class},
};

const ACTIVITY_QUERY: u32 = 1;

pub(super) fn value(query: &DnsQuery, context: &Context, stamp: &Stamp) -> Value {
    let DnsQuery { flow: flow_of_query, name, question_type } = query;
    let outcome = flow::outcome(&flow_of_query.decision);
    let class = Class { category: 4, class: 4003, activity: ACTIVITY_QUERY };
    let rule = flow_of_query.decision.rule.as_ref();
    object::base(&class, outcome.severity, &["host", "security_control"], context, stamp)
        .with("action_id", outcome.action)
        .with("actor", object::actor(&flow_of_query.actor, context))
        .with("connection_info", flow::connection(flow_of_query))
        .with("disposition_id", outcome.disposition)
        .maybe("dst_endpoint", flow_of_query.destination.as_ref().map(object::endpoint))
        .maybe("firewall_rule", rule.map(flow::firewall_rule))
        .with("message", message(query, outcome.word))
        .with("policy", flow::policy(flow_of_query))
        .with("query", dns::question(name, *question_type))
        .with("src_endpoint", json!({"hostname": &*context.hostname}))
        .with("status_id", outcome.status)
        .with("unmapped", json!({"governd": Value::from(flow::own(flow_of_query, context))}))
        .into()
}

fn message(query: &DnsQuery, word: &str) -> String {
    let flow = &query.flow;
    let rule = flow.decision.rule.as_ref().map_or("no rule", |rule| &*rule.id);
    let name = if query.name.is_empty() { "an unreadable name" } else { &query.name };
    let (agent, reason) = (&flow.subject.agent, flow.decision.reason.word());
    format!("{word} {agent} to ask for {name}: {reason}, {rule}")
}
