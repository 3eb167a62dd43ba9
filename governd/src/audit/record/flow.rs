//! A decision about a destination: Network Activity, 4001.

use std::net::IpAddr;

use governd_common::{
    event::Hook,
    verdict::{Mode, Reason, Verdict},
};
use serde_json::{Value, json};

use super::{
    Context, Decision, Destination, Evidence, Flow, Repeated, Stamp,
    object::{self, Class, Object},
};
use crate::audit::canonical::integer;

const ACTIVITY_OPEN: u32 = 1;
const ACTIVITY_REFUSE: u32 = 5;
const ACTIVITY_TRAFFIC: u32 = 6;
const DIRECTION_OUTBOUND: u8 = 2;

/// What OCSF says of an outcome.
pub(super) struct Outcome {
    pub(super) action: u8,
    pub(super) disposition: u8,
    pub(super) severity: u8,
    pub(super) status: u8,
    pub(super) word: &'static str,
}

/// Allowed is 1 and 1, denied 2 and 2; what monitor mode let pass against the policy was observed
/// and logged: 3 and 17.
pub(super) fn outcome(decision: &Decision) -> Outcome {
    const SUCCESS: u8 = 1;
    const FAILURE: u8 = 2;
    match (decision.verdict, decision.mode) {
        (Verdict::Allow, _) => {
            Outcome { action: 1, disposition: 1, severity: 1, status: SUCCESS, word: "allowed" }
        }
        (Verdict::Deny, Mode::Monitor) => {
            Outcome { action: 3, disposition: 17, severity: 2, status: SUCCESS, word: "would deny" }
        }
        (Verdict::Deny, Mode::Enforce) => {
            let severity = if decision.reason == Reason::Fault { 4 } else { 3 };
            Outcome { action: 2, disposition: 2, severity, status: FAILURE, word: "denied" }
        }
    }
}

/// OCSF's attributes for events of the same kind that were put together.
pub(super) fn repeated(repeated: &Repeated, context: &Context, stamp: &Stamp) -> Value {
    let Repeated { flow, count, first_ms } = repeated;
    let times = format!("{count} times: {}", flow_message(flow, context));
    flow_object(flow, context, stamp)
        .with("count", integer(*count))
        .with("end_time", integer(stamp.time_ms))
        .with("message", times)
        .with("start_time", integer(*first_ms))
        .into()
}

pub(super) fn value(flow: &Flow, context: &Context, stamp: &Stamp) -> Value {
    flow_object(flow, context, stamp).into()
}

fn flow_object(flow: &Flow, context: &Context, stamp: &Stamp) -> Object {
    let outcome = outcome(&flow.decision);
    let activity = match (flow.hook, outcome.action) {
        (_, 2) => ACTIVITY_REFUSE,
        (Hook::Sendmsg, _) => ACTIVITY_TRAFFIC,
        _ => ACTIVITY_OPEN,
    };
    let class = Class { category: 4, class: 4001, activity };
    let source = json!({"hostname": &*context.hostname});
    object::base(&class, outcome.severity, &["host", "security_control"], context, stamp)
        .with("action_id", outcome.action)
        .with("actor", object::actor(&flow.actor, context))
        .with("connection_info", connection(flow))
        .with("disposition_id", outcome.disposition)
        .maybe("dst_endpoint", flow.destination.as_ref().map(object::endpoint))
        .maybe("firewall_rule", flow.decision.rule.as_ref().map(firewall_rule))
        .with("message", flow_message(flow, context))
        .with("policy", policy(flow))
        .maybe("src_endpoint", flow.destination.is_none().then_some(source))
        .with("status_id", outcome.status)
        .with("unmapped", json!({"governd": Value::from(own(flow, context))}))
}

fn flow_message(flow: &Flow, context: &Context) -> String {
    message(flow, &outcome(&flow.decision), unread(flow, context))
}

pub(super) fn connection(flow: &Flow) -> Object {
    let address = flow.destination.as_ref().map(|to| to.address);
    let version = address.map(|ip| if ip.is_ipv4() { 4 } else { 6 });
    Object::default()
        .maybe("boundary_id", address.map(boundary))
        .with("direction_id", DIRECTION_OUTBOUND)
        .maybe("protocol_name", protocol_name(flow.protocol))
        .with("protocol_num", flow.protocol)
        .maybe("protocol_ver_id", version)
        .maybe("uid", (flow.cookie != 0).then(|| format!("cookie:{}", flow.cookie)))
}

/// Localhost, internal (RFC 1918, RFC 4193 and link-local addresses), or external.
fn boundary(address: IpAddr) -> u8 {
    let internal = match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    match (address.is_loopback(), internal) {
        (true, _) => 1,
        (false, true) => 2,
        (false, false) => 3,
    }
}

/// IANA's keyword of a protocol number, lower case, for those that an agent can meet.
fn protocol_name(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        58 => "ipv6-icmp",
        132 => "sctp",
        136 => "udplite",
        _ => return None,
    })
}

pub(super) fn firewall_rule(rule: &super::RuleRef) -> Value {
    json!({"desc": &*rule.text, "name": &*rule.id, "uid": &*rule.id})
}

pub(super) fn policy(flow: &Flow) -> Value {
    json!({
        "is_applied": flow.decision.mode == Mode::Enforce,
        "name": &*flow.subject.agent,
        "uid": &*flow.decision.policy.digest,
        "version": flow.decision.policy.generation.to_string(),
    })
}

/// What hides names on this kernel, where a rule about one might have decided otherwise.
fn unread(flow: &Flow, context: &Context) -> Option<&'static str> {
    let reason = flow.decision.reason;
    let may_be = matches!(reason, Reason::NoRule | Reason::DnsName | Reason::NoServerName);
    let mut hiding = context.degraded.iter().filter(|degraded| degraded.hides_names);
    let denies = flow.decision.verdict == Verdict::Deny;
    hiding.next().filter(|_| may_be && denies).map(|degraded| degraded.what)
}

fn message(flow: &Flow, outcome: &Outcome, unread: Option<&str>) -> String {
    let destination = match (&flow.destination, &flow.path) {
        (Some(to), _) => in_words(to, flow.protocol),
        (None, Some(path)) => path.to_string(),
        (None, None) => "a raw socket".to_owned(),
    };
    let rule = flow.decision.rule.as_ref().map_or("no rule", |rule| &*rule.id);
    let (agent, reason) = (&flow.subject.agent, flow.decision.reason.word());
    let unread = unread.map_or("", |_| "; names cannot be read on this kernel");
    format!("{} {agent} to {destination}: {reason}, {rule}{unread}", outcome.word)
}

fn in_words(to: &Destination, protocol: u8) -> String {
    let protocol = protocol_name(protocol).map_or_else(|| protocol.to_string(), ToOwned::to_owned);
    let address = std::net::SocketAddr::new(to.address, to.port);
    match &to.name {
        Some(name) => format!("{name} ({address}/{protocol})"),
        None => format!("{address}/{protocol}"),
    }
}

pub(super) fn own(flow: &Flow, context: &Context) -> Object {
    let own = Object::default()
        .with("agent", object::agent(&flow.subject))
        .with("decision", decision(flow, context))
        .with("lineage", object::lineage(&flow.actor))
        .maybe("path", flow.path.as_deref())
        .with("process", object::process_facts(&flow.actor));
    let Some(to) = &flow.destination else {
        return own;
    };
    own.with("name", name(to)).maybe("service", to.service.as_deref())
}

/// How the destination's name is known.
pub(super) fn name(to: &Destination) -> Object {
    let evidence = if to.name.is_some() { to.evidence } else { Evidence::None };
    let own = Object::default().with("evidence", evidence.word());
    let own = own.maybe("value", to.name.as_deref());
    let Some(said) = &to.said else {
        return own;
    };
    own.with("source", said.source)
        .maybe("alpn", (!said.alpn.is_empty()).then(|| said.alpn.clone()))
        .maybe("ech", said.has_ech.then_some(true))
        .maybe("refusal", said.refusal)
}

fn decision(flow: &Flow, context: &Context) -> Object {
    let decision = &flow.decision;
    let denies = decision.verdict == Verdict::Deny;
    Object::default()
        .with("hook", hook_word(flow.hook))
        .with("mode", mode_word(decision.mode))
        .with("policy", object::policy(&decision.policy))
        .with("reason", decision.reason.word())
        .maybe("rule", decision.rule.as_ref().map(|rule| &*rule.id))
        .maybe("rule_text", decision.rule.as_ref().map(|rule| &*rule.text))
        .maybe("degraded", unread(flow, context))
        .with("verdict", if denies { "deny" } else { "allow" })
        .with("would_deny", denies && decision.mode == Mode::Monitor)
}

const fn hook_word(hook: Hook) -> &'static str {
    match hook {
        Hook::Connect => "connect",
        Hook::Sendmsg => "sendmsg",
        Hook::SockCreate => "sock-create",
        Hook::Egress => "egress",
        Hook::Device => "device",
        Hook::Unix => "unix",
        Hook::Frame => "frame",
    }
}

/// The word for a mode in records.
pub(super) const fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Monitor => "monitor",
        Mode::Enforce => "enforce",
    }
}
