//! What owners are told of destinations in tier `notify`.
//!
//! A destination that an agent reaches is told of at once, and from then on no more than once in
//! each interval, with how many connections there were. What is not told when the daemon ends is
//! told then. The number of destinations is bounded: where there are more, the one that was told
//! of longest ago is told of before its interval is over, so that none is lost.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use governd_common::verdict::Verdict;

use crate::{
    audit::record::{Confidence, Finding, Flow},
    policy::{
        image::Compiled,
        value::{Tier, port::Protocol},
    },
};

/// How long further connections are put together, in milliseconds.
const INTERVAL_MS: u64 = 15 * 60 * 1_000;
/// Destinations that are known at a time.
const DESTINATIONS_MAX: usize = 4_096;
/// Sockets of a destination that are known: some have several records.
const COOKIES_MAX: usize = 64;
const SEVERITY_MEDIUM: u8 = 3;

/// What is told of together.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    agent: Arc<str>,
    rule: Arc<str>,
    /// The name, where there is one, or else the address.
    to: Arc<str>,
    port: u16,
    protocol: u8,
}

/// A destination that was told of.
#[derive(Debug)]
struct Told {
    /// The latest connection since then, and how many there were.
    latest: Option<Flow>,
    count: u64,
    since_ms: u64,
    cookies: VecDeque<u64>,
}

/// Notices, told and to be told.
#[derive(Debug, Default)]
pub struct Notices {
    /// Rules whose tier is `notify`.
    rules: HashSet<Arc<str>>,
    told: HashMap<Key, Told>,
}

impl Notices {
    /// Another policy is in force.
    pub fn install(&mut self, policy: &Compiled) {
        let meant = policy.rules.iter().filter(|rule| rule.tier == Tier::Notify);
        self.rules = meant.map(|rule| Arc::clone(&rule.id)).collect();
    }

    /// Takes a decision, and gives what is to be told at once.
    pub fn observe(&mut self, flow: &Flow, now_ms: u64) -> Vec<Finding> {
        let is_allowed = flow.decision.verdict == Verdict::Allow;
        let rule = flow.decision.rule.as_ref().filter(|rule| self.rules.contains(&rule.id));
        let (true, Some(rule), Some(to)) = (is_allowed, rule, &flow.destination) else {
            return Vec::new();
        };
        let host = to.name.clone().unwrap_or_else(|| to.address.to_canonical().to_string().into());
        let key = Key {
            agent: Arc::clone(&flow.subject.agent),
            rule: Arc::clone(&rule.id),
            to: host,
            port: to.port,
            protocol: flow.protocol,
        };
        if let Some(told) = self.told.get_mut(&key) {
            told.add(flow);
            return Vec::new();
        }
        let mut findings = Vec::new();
        if self.told.len() >= DESTINATIONS_MAX {
            let oldest = self.told.iter().min_by_key(|(_, told)| told.since_ms);
            let oldest = oldest.map(|(key, _)| key.clone());
            if let Some((key, told)) = oldest.and_then(|key| self.told.remove_entry(&key)) {
                findings.extend(told.finding(&key));
            }
        }
        findings.push(finding(&key, flow, 1, now_ms));
        let cookies = VecDeque::from([flow.cookie]);
        self.told.insert(key, Told { latest: None, count: 0, since_ms: now_ms, cookies });
        findings
    }

    /// What is to be told now: all of whose interval is over or, at the end, everything.
    pub fn due(&mut self, now_ms: u64, is_end: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.told.retain(|key, told| {
            // A clock that was set back makes nobody wait.
            let passed_ms = now_ms.checked_sub(told.since_ms).unwrap_or(INTERVAL_MS);
            if !is_end && passed_ms < INTERVAL_MS {
                return true;
            }
            findings.extend(told.finding(key));
            (told.latest, told.since_ms) = (None, now_ms);
            // What nobody reached for an interval is new when it is reached again.
            std::mem::take(&mut told.count) != 0
        });
        findings.sort_by(|a, b| a.uid.cmp(&b.uid));
        findings
    }
}

impl Told {
    fn add(&mut self, flow: &Flow) {
        let is_known = flow.cookie != 0 && self.cookies.contains(&flow.cookie);
        if is_known {
            return;
        }
        if self.cookies.len() >= COOKIES_MAX {
            self.cookies.pop_front();
        }
        self.cookies.push_back(flow.cookie);
        self.count = self.count.saturating_add(1);
        self.latest = Some(flow.clone());
    }

    fn finding(&self, key: &Key) -> Option<Finding> {
        let latest = self.latest.as_ref()?;
        Some(finding(key, latest, self.count, self.since_ms))
    }
}

fn finding(key: &Key, flow: &Flow, count: u64, since_ms: u64) -> Finding {
    let Key { agent, rule, to, port, protocol } = key;
    let protocol = Protocol::in_words(*protocol);
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
    let text = flow.decision.rule.as_ref().map(|rule| rule.text.to_string());
    Finding {
        kind: "owner-notice".into(),
        uid: format!("owner-notice/{rule}/{to}/{port}/{protocol}").into(),
        title: format!("{agent} reached {to} port {port}/{protocol} {times}: its owner is to know")
            .into(),
        severity: SEVERITY_MEDIUM,
        confidence: Confidence::High,
        first_seen_ms: since_ms,
        subject: Some(Arc::clone(&flow.subject)),
        actor: Some(flow.actor.clone()),
        destination: flow.destination.clone(),
        evidence: vec![
            format!("connections: {count}"),
            format!("rule: {rule}: {}", text.unwrap_or_default()),
        ],
    }
}

#[cfg(test)]
mod tests {
    use governd_common::{
        event::Hook,
        verdict::{Mode, Reason},
    };

    use super::*;
    use crate::{
        audit::record::{Actor, Decision, Destination, Evidence, PolicyRef, RuleRef, Subject},
        core::process::Process,
        policy::image::RuleFacts,
    };

    fn flow(rule: &str, name: &str, cookie: u64) -> Flow {
        Flow {
            actor: Actor { process: Arc::new(Process::default()), lineage: Arc::new([]) },
            subject: Arc::new(Subject { id: 7, agent: "bot".into(), ..Subject::default() }),
            decision: Decision {
                verdict: Verdict::Allow,
                reason: Reason::Rule,
                mode: Mode::Enforce,
                rule: Some(RuleRef { id: rule.into(), text: "notify a.example".into() }),
                policy: PolicyRef { digest: "sha256:0".into(), generation: 1 },
            },
            hook: Hook::Connect,
            destination: Some(Destination {
                address: "192.0.2.1".parse().unwrap(),
                port: 443,
                name: Some(name.into()),
                evidence: Evidence::Dns,
                service: None,
                said: None,
            }),
            path: None,
            protocol: 6,
            cookie,
        }
    }

    fn notices() -> Notices {
        let rule = |id: &str, tier| RuleFacts {
            id: id.into(),
            subject: 7,
            text: "".into(),
            tier,
            source: None,
        };
        let rules = vec![rule("bot/egress/1", Tier::Notify), rule("bot/egress/2", Tier::Allow)];
        let mut notices = Notices::default();
        notices.install(&Compiled { rules, ..Compiled::default() });
        notices
    }

    fn titles(findings: &[Finding]) -> Vec<&str> {
        findings
            .iter()
            .map(|one| one.title.strip_suffix(": its owner is to know").unwrap())
            .collect()
    }

    #[test]
    fn owners_are_told_at_once_and_then_once_in_each_interval() {
        let mut notices = notices();
        let first = notices.observe(&flow("bot/egress/1", "a.example", 1), 1_000);
        assert_eq!(titles(&first), ["bot reached a.example port 443/tcp once"]);
        // The same socket has another record when it says a name.
        let again = [1, 2, 3, 3, 4];
        for cookie in again {
            assert!(notices.observe(&flow("bot/egress/1", "a.example", cookie), 2_000).is_empty());
        }
        assert_eq!(notices.observe(&flow("bot/egress/1", "b.example", 9), 3_000).len(), 1);
        assert!(notices.observe(&flow("bot/egress/2", "a.example", 5), 2_000).is_empty());
        let denied = Flow {
            decision: Decision { verdict: Verdict::Deny, ..first_decision() },
            ..flow("bot/egress/1", "c.example", 6)
        };
        assert!(notices.observe(&denied, 2_000).is_empty());

        assert!(notices.due(INTERVAL_MS, false).is_empty());
        let due = notices.due(1_000 + INTERVAL_MS, false);
        assert_eq!(titles(&due), ["bot reached a.example port 443/tcp 3 times"]);
        assert_eq!(due[0].evidence[0], "connections: 3");
        assert_eq!(
            (&*due[0].uid, due[0].first_seen_ms),
            ("owner-notice/bot/egress/1/a.example/443/tcp", 1_000)
        );
        // Nothing since, for a whole interval: the next one is told at once.
        assert!(notices.due(3_000 + 2 * INTERVAL_MS, false).is_empty());
        assert_eq!(
            notices.observe(&flow("bot/egress/1", "a.example", 8), 5_000 + 2 * INTERVAL_MS).len(),
            1
        );
    }

    fn first_decision() -> Decision {
        flow("bot/egress/1", "a.example", 1).decision
    }

    #[test]
    fn nothing_is_lost_at_the_end_or_where_there_are_too_many() {
        let mut notices = notices();
        for cookie in 1..=2 {
            notices.observe(&flow("bot/egress/1", "a.example", cookie), 1);
        }
        for number in 0..DESTINATIONS_MAX as u64 - 1 {
            let name = format!("host-{number}.example");
            assert_eq!(notices.observe(&flow("bot/egress/1", &name, number + 10), 2).len(), 1);
        }
        let told = notices.observe(&flow("bot/egress/1", "one-more.example", 5), 3);
        assert_eq!(
            titles(&told),
            [
                "bot reached a.example port 443/tcp once",
                "bot reached one-more.example port 443/tcp once",
            ]
        );
        assert_eq!(notices.told.len(), DESTINATIONS_MAX);
        notices.observe(&flow("bot/egress/1", "one-more.example", 6), 4);
        assert_eq!(
            titles(&notices.due(5, true)),
            ["bot reached one-more.example port 443/tcp once"]
        );
        // A clock that is set back.
        notices.observe(&flow("bot/egress/1", "one-more.example", 7), 4);
        assert_eq!(notices.due(0, false).len(), 1);
    }
}
