//! A decision about a destination: Network Activity, 4001.

use std::net::IpAddr;

use governd_common::{
    event::Hook,
    verdict::{Mode, Reason, Verdict},
};

use super::{
    Decision, Destination, Evidence, Flow, Host, Repeated, Retention, RuleRef, Stamp,
    object::{self, Class},
};
use crate::audit::canonical::{self, Fields, Object, Shown, Text};

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

pub(super) fn write(o: &mut Object<'_>, flow: &Flow, host: &Host, stamp: &Stamp) {
    fields(o, flow, None, host, stamp);
}

pub(super) fn repeated(o: &mut Object<'_>, repeated: &Repeated, host: &Host, stamp: &Stamp) {
    let Repeated { flow, count, first_ms } = repeated;
    fields(o, flow, Some(Times { count: *count, first_ms: *first_ms }), host, stamp);
}

/// How often, and since when, in milliseconds since the epoch.
#[derive(Clone, Copy)]
struct Times {
    count: u64,
    first_ms: u64,
}

/// What the records of one kind of decision about a process have in common.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    asked: Fields,
    outcome: Fields,
    rule: Fields,
    /// Of the message, around where it goes.
    begin: String,
    end: String,
    policy: Fields,
    own: Fields,
    process: Fields,
}

impl Parts {
    /// Those of a decision, whatever its destination and socket.
    pub(super) fn of(flow: &Flow, host: &Host, stamp: &Stamp) -> Self {
        Self {
            asked: Fields::of(|o| asked(o, flow, host, stamp)),
            outcome: Fields::of(|o| device(o, flow, host)),
            rule: Fields::of(|o| rule(o, flow)),
            begin: canonical::text(|text| message_begin(text, flow)),
            end: canonical::text(|text| message_end(text, flow)),
            policy: Fields::of(|o| applied(o, flow)),
            own: Fields::of(|o| own_decision(o, flow, host, stamp)),
            process: Fields::of(|o| own_process(o, flow, host, stamp)),
        }
    }
}

fn fields(o: &mut Object<'_>, flow: &Flow, times: Option<Times>, host: &Host, stamp: &Stamp) {
    let known = host.parts(flow, stamp);
    let outcome = outcome(&flow.decision);
    o.fields(known.map(|it| &it.asked), |o| asked(o, flow, host, stamp))
        .object("connection_info", |o| connection(o, flow))
        .maybe("count", times.map(|times| times.count))
        .fields(known.map(|it| &it.outcome), |o| device(o, flow, host))
        .maybe_object("dst_endpoint", flow.destination.as_ref(), object::endpoint)
        .maybe("end_time", times.map(|_| stamp.time_ms))
        .fields(known.map(|it| &it.rule), |o| rule(o, flow))
        .text("message", |text| message(text, flow, times, known))
        .object("metadata", |o| {
            object::metadata(o, &["host", "security_control"], None, host, stamp);
        })
        .fields(known.map(|it| &it.policy), |o| applied(o, flow));
    if flow.destination.is_none() {
        o.object("src_endpoint", |o| object::this_host(o, host));
    }
    o.maybe("start_time", times.map(|times| times.first_ms))
        .with("status_id", outcome.status)
        .with("time", stamp.time_ms)
        .with("type_uid", class(flow).type_uid());
    object::unmapped(o, |o| own(o, flow, host, stamp));
}

fn class(flow: &Flow) -> Class {
    let activity = match (flow.hook, outcome(&flow.decision).action) {
        (_, 2) => ACTIVITY_REFUSE,
        (Hook::Sendmsg, _) => ACTIVITY_TRAFFIC,
        _ => ACTIVITY_OPEN,
    };
    Class { category: 4, class: 4001, activity }
}

fn asked(o: &mut Object<'_>, flow: &Flow, host: &Host, stamp: &Stamp) {
    let class = class(flow);
    o.with("action_id", outcome(&flow.decision).action)
        .with("activity_id", class.activity)
        .object("actor", |o| object::actor(o, &flow.actor, host, stamp));
    class.uids(o);
}

fn device(o: &mut Object<'_>, flow: &Flow, host: &Host) {
    o.written("device", host.device()).with("disposition_id", outcome(&flow.decision).disposition);
}

fn rule(o: &mut Object<'_>, flow: &Flow) {
    o.maybe_object("firewall_rule", flow.decision.rule.as_ref(), firewall_rule);
}

fn applied(o: &mut Object<'_>, flow: &Flow) {
    o.object("policy", |o| policy(o, flow)).with("severity_id", outcome(&flow.decision).severity);
}

pub(super) fn connection(o: &mut Object<'_>, flow: &Flow) {
    let address = flow.destination.as_ref().map(|to| to.address);
    let version = address.map(|ip| if ip.is_ipv4() { 4_u8 } else { 6 });
    let cookie = (flow.cookie != 0).then_some(flow.cookie);
    o.maybe("boundary_id", address.map(boundary))
        .with("direction_id", DIRECTION_OUTBOUND)
        .maybe("protocol_name", protocol_name(flow.protocol))
        .with("protocol_num", flow.protocol)
        .maybe("protocol_ver_id", version);
    if let Some(cookie) = cookie {
        o.text("uid", |text| _ = text.add("cookie:").number(cookie));
    }
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

pub(super) fn firewall_rule(o: &mut Object<'_>, rule: &RuleRef) {
    o.with("desc", &*rule.text).with("name", &*rule.id).with("uid", &*rule.id);
}

pub(super) fn policy(o: &mut Object<'_>, flow: &Flow) {
    o.with("is_applied", flow.decision.mode == Mode::Enforce)
        .with("name", &*flow.subject.agent)
        .with("uid", &*flow.decision.policy.digest)
        .with("version", Shown(flow.decision.policy.generation));
}

/// The decision in one sentence.
fn message(text: &mut Text<'_>, flow: &Flow, times: Option<Times>, known: Option<&Parts>) {
    if let Some(Times { count, .. }) = times {
        text.number(count).add(" times: ");
    }
    match known {
        Some(known) => _ = text.written(&known.begin),
        None => message_begin(text, flow),
    }
    match (&flow.destination, &flow.path) {
        (Some(to), _) => in_words(text, to, flow.protocol),
        (None, Some(path)) => _ = text.add(path),
        (None, None) => _ = text.add("a raw socket"),
    }
    match known {
        Some(known) => _ = text.written(&known.end),
        None => message_end(text, flow),
    }
}

fn message_begin(text: &mut Text<'_>, flow: &Flow) {
    text.add(outcome(&flow.decision).word).add(" ").add(&flow.subject.agent).add(" to ");
}

fn message_end(text: &mut Text<'_>, flow: &Flow) {
    let rule = flow.decision.rule.as_ref().map_or("no rule", |rule| &*rule.id);
    text.add(": ").add(flow.decision.reason.word()).add(", ").add(rule);
}

fn in_words(text: &mut Text<'_>, to: &Destination, protocol: u8) {
    if let Some(name) = &to.name {
        text.add(name).add(" (");
    }
    // As `SocketAddr` has it.
    match to.address {
        IpAddr::V4(_) => text.address(to.address),
        IpAddr::V6(_) => text.add("[").address(to.address).add("]"),
    };
    text.add(":").number(to.port.into()).add("/");
    match protocol_name(protocol) {
        Some(name) => text.add(name),
        None => text.number(protocol.into()),
    };
    text.add(if to.name.is_some() { ")" } else { "" });
}

pub(super) fn own(o: &mut Object<'_>, flow: &Flow, host: &Host, stamp: &Stamp) {
    let to = flow.destination.as_ref();
    let known = host.parts(flow, stamp);
    o.fields(known.map(|it| &it.own), |o| own_decision(o, flow, host, stamp))
        .maybe_object("name", to, name)
        .maybe("path", flow.path.as_deref())
        .fields(known.map(|it| &it.process), |o| own_process(o, flow, host, stamp))
        .maybe("service", to.and_then(|to| to.service.as_deref()));
}

fn own_decision(o: &mut Object<'_>, flow: &Flow, host: &Host, stamp: &Stamp) {
    o.object("agent", |o| object::agent(o, &flow.subject))
        .object("decision", |o| decision(o, flow));
    match host.prepared(&flow.actor, stamp) {
        Some(known) => o.written("lineage", &known.lineage),
        None => o.objects("lineage", flow.actor.lineage.iter(), object::ancestor),
    };
}

fn own_process(o: &mut Object<'_>, flow: &Flow, host: &Host, stamp: &Stamp) {
    match host.prepared(&flow.actor, stamp) {
        Some(known) => o.written("process", &known.facts),
        None => o.object("process", |o| object::process_facts(o, &flow.actor)),
    };
    o.with("retention", Retention::HalfYear.word());
}

/// How the destination's name is known.
pub(super) fn name(o: &mut Object<'_>, to: &Destination) {
    let evidence = if to.name.is_some() { to.evidence } else { Evidence::None };
    let said = to.said.as_ref();
    if let Some(said) = said.filter(|said| !said.alpn.is_empty()) {
        o.list("alpn", said.alpn.iter().map(String::as_str));
    }
    o.maybe("ech", said.filter(|said| said.has_ech).map(|_| true))
        .with("evidence", evidence.word())
        .maybe("refusal", said.and_then(|said| said.refusal))
        .maybe("source", said.map(|said| said.source))
        .maybe("value", to.name.as_deref());
}

fn decision(o: &mut Object<'_>, flow: &Flow) {
    let decision = &flow.decision;
    let denies = decision.verdict == Verdict::Deny;
    o.with("hook", hook_word(flow.hook))
        .with("mode", mode_word(decision.mode))
        .object("policy", |o| object::policy(o, &decision.policy))
        .with("reason", decision.reason.word())
        .maybe("rule", decision.rule.as_ref().map(|rule| &*rule.id))
        .maybe("rule_text", decision.rule.as_ref().map(|rule| &*rule.text))
        .with("verdict", if denies { "deny" } else { "allow" })
        .with("would_deny", denies && decision.mode == Mode::Monitor);
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
        Hook::Option => "setsockopt",
        Hook::Lsm => "lsm",
        Hook::Sysctl => "sysctl",
    }
}

/// The word for a mode in records.
pub(super) const fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Monitor => "monitor",
        Mode::Enforce => "enforce",
    }
}
