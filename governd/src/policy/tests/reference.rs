//! A plain evaluator: reads the words of a policy one by one for every flow. It shares no code with
//! the tables, the compiler or the types that parse, so that what both say is what the docs say.

use std::{fmt::Write, net::IpAddr};

use governd_common::verdict::Reason;

/// A rule in words.
#[derive(Clone, Debug)]
pub(super) struct PlainRule {
    pub(super) tier: &'static str,
    pub(super) targets: Vec<String>,
    pub(super) ports: Option<Vec<(u16, u16)>>,
    pub(super) protocol: &'static str,
    pub(super) verify: &'static str,
    pub(super) quic: bool,
}

/// The tiers, the strictest first.
pub(super) const TIERS: [&str; 5] = ["halt", "deny", "approve", "notify", "allow"];

impl PlainRule {
    /// Whether it lets something pass that nobody granted.
    fn allows(&self) -> bool {
        ["allow", "notify"].contains(&self.tier)
    }

    /// Higher is stricter.
    fn strictness(&self) -> usize {
        TIERS.iter().rev().position(|tier| *tier == self.tier).unwrap()
    }

    fn reason(&self) -> Reason {
        match self.tier {
            "approve" => Reason::Approval,
            "halt" => Reason::Halt,
            _ => Reason::Rule,
        }
    }
}

/// An agent in words; agent `n` is called `agent-n` and runs `/agent-n`.
#[derive(Clone, Debug)]
pub(super) struct PlainAgent {
    pub(super) mode: Option<&'static str>,
    pub(super) default_allow: bool,
    pub(super) rules: Vec<PlainRule>,
}

/// A group of endpoints in words; group `n` is called `g<n>`.
#[derive(Clone, Debug)]
pub(super) struct PlainGroup {
    /// Destinations, and later groups such as `group:g1`.
    pub(super) targets: Vec<String>,
    pub(super) ports: Option<Vec<(u16, u16)>>,
}

/// A destination of a rule, and the lists of ports that all have to have a port.
type PlainTarget<'a> = (&'a str, Vec<&'a Vec<(u16, u16)>>);

/// A policy in words.
#[derive(Clone, Debug)]
pub(super) struct PlainPolicy {
    pub(super) mode: &'static str,
    pub(super) unregistered: &'static str,
    pub(super) loopback_allow: bool,
    pub(super) resolvers: Vec<IpAddr>,
    /// AI endpoints.
    pub(super) endpoints: Vec<String>,
    pub(super) agents: Vec<PlainAgent>,
    pub(super) groups: Vec<PlainGroup>,
}

/// A flow, and what DNS said before it.
#[derive(Clone, Debug)]
pub(super) struct PlainFlow {
    /// Number of the agent; `None` is no agent.
    pub(super) agent: Option<usize>,
    pub(super) address: IpAddr,
    /// Names that the agent learned for the address, and whether the binding is still alive.
    pub(super) own: Vec<(String, bool)>,
    /// Names that the host's resolver learned for it.
    pub(super) host: Vec<(String, bool)>,
    pub(super) port: u16,
    pub(super) protocol: u8,
}

/// What comes out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PlainDecision {
    pub(super) allow: bool,
    pub(super) reason: Reason,
    pub(super) enforce: bool,
    pub(super) quiet: bool,
    pub(super) rule: String,
}

impl PlainPolicy {
    /// As documents.
    pub(super) fn yaml(&self) -> String {
        let word = |allow: bool| if allow { "allow" } else { "deny" };
        let mut out = format!(
            "apiVersion: governd.dev/v1\nkind: HostPolicy\nmetadata: {{name: host}}\nspec:\n  \
             hosts: ['*']\n  mode: {}\n  unregistered: {}\n  loopback: {}\n  \
             resolvers: {{host: false, addresses: [{}]}}\n",
            self.mode,
            self.unregistered,
            word(self.loopback_allow),
            quoted(self.resolvers.iter()),
        );
        for (index, agent) in self.agents.iter().enumerate() {
            let mode = agent.mode.map(|mode| format!("  mode: {mode}\n")).unwrap_or_default();
            write!(
                out,
                "---\napiVersion: governd.dev/v1\nkind: Agent\nmetadata: {{name: agent-{index}}}\n\
                 spec:\n  owner: {{name: Dana, mail: d@acme.example}}\n{mode}  \
                 match: [{{exe: /agent-{index}}}]\n  egress:\n    default: {}\n    rules:\n",
                word(agent.default_allow),
            )
            .unwrap();
            for rule in &agent.rules {
                let targets = quoted(rule.targets.iter());
                writeln!(out, "    - {}: [{targets}]", rule.tier).unwrap();
                writeln!(out, "      protocol: {}", rule.protocol).unwrap();
                writeln!(out, "      verify: {}", rule.verify).unwrap();
                writeln!(out, "      quic: {}", word(rule.quic)).unwrap();
                if let Some(ports) = &rule.ports {
                    writeln!(out, "      ports: [{}]", ranges(ports)).unwrap();
                }
            }
        }
        for (index, group) in self.groups.iter().enumerate() {
            let ports = group.ports.as_ref().map(|ports| format!(", ports: [{}]", ranges(ports)));
            writeln!(
                out,
                "---\napiVersion: governd.dev/v1\nkind: EndpointGroup\nmetadata: \
                 {{name: g{index}}}\nspec: {{endpoints: [{}]{}}}",
                quoted(group.targets.iter()),
                ports.unwrap_or_default(),
            )
            .unwrap();
        }
        out
    }

    /// What a rule is about.
    fn targets<'a>(&'a self, rule: &'a PlainRule) -> Vec<PlainTarget<'a>> {
        let mut found = Vec::new();
        let mut left: Vec<PlainTarget<'a>> =
            rule.targets.iter().map(|one| (&**one, rule.ports.iter().collect())).collect();
        while let Some((target, ports)) = left.pop() {
            let Some(number) = target.strip_prefix("group:g") else {
                found.push((target, ports));
                continue;
            };
            let group = &self.groups[number.parse::<usize>().unwrap()];
            let ports: Vec<_> = ports.into_iter().chain(&group.ports).collect();
            left.extend(group.targets.iter().map(|one| (&**one, ports.clone())));
        }
        found
    }

    /// The decision about a flow.
    pub(super) fn decide(&self, flow: &PlainFlow) -> PlainDecision {
        let agent = flow.agent.map(|index| &self.agents[index]);
        let mode = agent.and_then(|agent| agent.mode).unwrap_or(self.mode);
        let answer = |allow, reason, rule, quiet| PlainDecision {
            allow,
            reason,
            enforce: mode == "enforce",
            quiet,
            rule,
        };
        let default_rule = match flow.agent {
            Some(index) => format!("agent-{index}/default"),
            None => "unregistered/default".to_owned(),
        };
        if let Some(best) = self.best(flow) {
            return answer(best.lets(), best.reason(), best.rule, false);
        }
        if flow.address.to_canonical().is_loopback() && (agent.is_none() || self.loopback_allow) {
            return answer(true, Reason::Loopback, default_rule, true);
        }
        let is_dns = flow.port == 53 && [6, 17].contains(&flow.protocol);
        if is_dns && self.resolvers.iter().any(|one| one.to_canonical() == flow.address) {
            return answer(true, Reason::Resolver, default_rule, true);
        }
        // A rule that the first bytes alone decide lets any connection begin.
        if agent.is_some_and(|agent| !agent.default_allow)
            && let Some(hit) = self.any_address(flow)
        {
            return answer(hit.lets(), hit.reason(), hit.rule, false);
        }
        match agent {
            Some(agent) => {
                let is_name = |(target, _): &PlainTarget<'_>| !is_network(target);
                let denies =
                    |rule: &PlainRule| !rule.allows() && self.targets(rule).iter().any(is_name);
                let is_quic = flow.protocol == 17 && flow.port == 443;
                if agent.default_allow && is_quic && agent.rules.iter().any(denies) {
                    return answer(false, Reason::Quic, default_rule, false);
                }
                answer(agent.default_allow, Reason::NoRule, default_rule, false)
            }
            None => {
                let allow = self.unregistered != "deny";
                answer(allow, Reason::Unregistered, default_rule, allow)
            }
        }
    }

    fn best(&self, flow: &PlainFlow) -> Option<Hit> {
        let mut by_name: Option<Hit> = None;
        for (name, alive) in flow.own.iter().chain(&flow.host) {
            let hit = alive.then(|| self.hit(flow, |target| name_matches(target, name))).flatten();
            by_name = match (by_name, hit) {
                // The first packet does not say which name is meant: what lets it pass is
                // preferred, and what asks for no name in it before others.
                (Some(a), Some(b)) if b.rank_of_name() > a.rank_of_name() => Some(b),
                (a, b) => a.or(b),
            };
        }
        let address = flow.address.to_canonical();
        let by_address = self.hit(flow, |target| network_matches(target, address));
        match (by_name, by_address) {
            (Some(name), Some(network)) => {
                let is_better = (network.rank, !network.allow) > (name.rank, !name.allow);
                Some(if is_better { network } else { name })
            }
            (name, network) => name.or(network),
        }
    }

    fn any_address(&self, flow: &PlainFlow) -> Option<Hit> {
        let agent = &self.agents[flow.agent?];
        let by_bytes = |rule: &&PlainRule| rule.allows() && rule.verify == "sni";
        let mut only = self.clone();
        only.agents[flow.agent?].rules = agent
            .rules
            .iter()
            .map(|rule| {
                let targets = Some(rule).filter(by_bytes).map(|rule| rule.targets.clone());
                PlainRule { targets: targets.unwrap_or_default(), ..rule.clone() }
            })
            .collect();
        only.hit(flow, |target| !is_network(target))
    }

    /// The rule that wins among those with a target that matches.
    fn hit(&self, flow: &PlainFlow, matches: impl Fn(&str) -> bool) -> Option<Hit> {
        let mut best: Option<Hit> = None;
        let mut consider = |hit: Hit| {
            let is_better = best
                .as_ref()
                .is_none_or(|old| (hit.rank, hit.strictness) > (old.rank, old.strictness));
            if is_better {
                best = Some(hit);
            }
        };
        let Some(index) = flow.agent else {
            for target in self.endpoints.iter().filter(|target| matches(target)) {
                let allow = self.unregistered == "monitor";
                let rule = "unregistered/ai/ai".to_owned();
                let rank = (base(target), false, false);
                let (strictness, why) = (0, Reason::Rule);
                consider(Hit {
                    allow,
                    strictness,
                    why,
                    rank,
                    rule,
                    is_by_dns: allow,
                    refuses: None,
                });
            }
            return best;
        };
        for (number, rule) in self.agents[index].rules.iter().enumerate() {
            let port_fits = |ports: &&Vec<(u16, u16)>| {
                ports.iter().any(|(first, last)| (*first..=*last).contains(&flow.port))
            };
            let protocol_fits = match rule.protocol {
                "tcp" => flow.protocol == 6,
                "udp" => flow.protocol == 17,
                _ => true,
            };
            let targets = self.targets(rule).into_iter();
            for (target, ports) in targets.filter(|(target, _)| matches(target)) {
                if ports.iter().all(port_fits) && protocol_fits {
                    let rank = (base(target), !ports.is_empty(), rule.protocol != "any");
                    let rule_id = format!("agent-{index}/egress/{}", number + 1);
                    let (allow, is_by_dns) = (rule.allows(), rule.verify == "dns");
                    let refuses = if allow { refused(flow, rule, target) } else { None };
                    let (strictness, why) = (rule.strictness(), rule.reason());
                    let rule = rule_id;
                    consider(Hit { allow, strictness, why, rank, rule, is_by_dns, refuses });
                }
            }
        }
        best
    }
}

struct Hit {
    allow: bool,
    strictness: usize,
    /// Why, where nothing refuses.
    why: Reason,
    /// What the target says, then whether the rule names ports, then whether it names a protocol.
    rank: (u32, bool, bool),
    rule: String,
    /// The binding proves the name.
    is_by_dns: bool,
    /// Why a rule that allows does not allow this kind of traffic.
    refuses: Option<Reason>,
}

impl Hit {
    fn lets(&self) -> bool {
        self.allow && self.refuses.is_none()
    }

    fn reason(&self) -> Reason {
        self.refuses.unwrap_or(self.why)
    }

    fn rank_of_name(&self) -> (bool, bool, bool, (u32, bool, bool)) {
        (self.lets(), self.lets() && self.is_by_dns, self.allow, self.rank)
    }
}

/// What a rule that allows a destination does not allow of it.
fn refused(flow: &PlainFlow, rule: &PlainRule, target: &str) -> Option<Reason> {
    let is_name = !is_network(target);
    let is_by_dns = rule.verify == "dns";
    let (is_open, reason) = match (flow.protocol, flow.port) {
        (17, 443) => (rule.quic, Reason::Quic),
        (17, _) => (!is_name || rule.quic || is_by_dns, Reason::NoServerName),
        (6, _) => (true, Reason::Rule),
        _ => (!is_name || is_by_dns, Reason::NoServerName),
    };
    (!is_open).then_some(reason)
}

fn ranges(ports: &[(u16, u16)]) -> String {
    quoted(ports.iter().map(|(first, last)| format!("{first}-{last}")))
}

fn quoted(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|one| format!("\"{}\"", one.to_string())).collect::<Vec<_>>().join(", ")
}

fn is_network(target: &str) -> bool {
    target.contains('/') || target.parse::<IpAddr>().is_ok()
}

fn base(target: &str) -> u32 {
    if let Some((address, prefix)) = target.split_once('/') {
        let address: IpAddr = address.parse().unwrap();
        let prefix: u32 = prefix.parse().unwrap();
        let length = if address.is_ipv4() { prefix + 96 } else { prefix };
        return if length == 128 { 1_000 } else { length };
    }
    match target.strip_prefix("*.") {
        Some(rest) => 500 + rest.split('.').count() as u32,
        None => 1_000,
    }
}

fn name_matches(target: &str, name: &str) -> bool {
    if is_network(target) {
        return false;
    }
    match target.strip_prefix('*') {
        Some(dotted) => name.ends_with(dotted) && name.len() > dotted.len(),
        None => target == name,
    }
}

fn network_matches(target: &str, address: IpAddr) -> bool {
    if !is_network(target) {
        return false;
    }
    let (base, prefix) = match target.split_once('/') {
        Some((base, prefix)) => (base.parse::<IpAddr>().unwrap(), prefix.parse::<usize>().unwrap()),
        None => (target.parse::<IpAddr>().unwrap(), 128),
    };
    let bits = |address: IpAddr| -> Vec<bool> {
        let bytes = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
    };
    base.is_ipv4() == address.is_ipv4()
        && bits(base).iter().zip(bits(address)).take(prefix).all(|(a, b)| *a == b)
}
