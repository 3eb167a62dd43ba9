//! What people decide at run time: requests for approval, grants, and quarantine.
//!
//! The kernel enforces them; this is what they mean to people, and what is written to disk. Pure:
//! time comes in as a value. A grant ends by `CLOCK_BOOTTIME`, which nobody can set back. After a
//! reboot it goes on for what is left of it by the wall clock; if that clock runs behind the file,
//! nothing is left.

use std::{collections::BTreeMap, net::IpAddr};

use governd_common::limits;
use serde::{Deserialize, Serialize};

use super::modes::Modes;
use crate::policy::value::port::Protocol;

/// Requests that wait at a time.
const REQUESTS_MAX: usize = 1_024;
/// Requests of one agent that wait at a time, so that none can crowd out those of others.
const REQUESTS_PER_AGENT_MAX: usize = 64;
/// Longest grant, in seconds: 30 days. What is to hold for longer belongs into the policy.
pub const GRANT_MAX_S: u64 = 30 * 86_400;

const NS_PER_MS: u64 = 1_000_000;
const MS_PER_S: u64 = 1_000;

/// Whom and what a request or a grant is about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Matter {
    /// The agent.
    pub agent: String,
    /// One name, lower case, or one address.
    pub destination: String,
    /// Port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

impl std::fmt::Display for Matter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { agent, destination, port, protocol } = self;
        let brackets = destination.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6());
        let protocol = Protocol::in_words(*protocol);
        if brackets {
            write!(f, "{agent} to [{destination}]:{port}/{protocol}")
        } else {
            write!(f, "{agent} to {destination}:{port}/{protocol}")
        }
    }
}

/// An agent was denied something that a person may grant.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Request {
    /// Its number; none is given twice.
    pub id: u64,
    /// What it is about.
    #[serde(flatten)]
    pub matter: Matter,
    /// The rule that asks for a person.
    pub rule: String,
    /// The process that tried last, and those that it descends from, nearest first.
    pub processes: Vec<String>,
    /// When it was first tried, in milliseconds since the epoch.
    pub first_ms: u64,
    /// When it was last tried.
    pub last_ms: u64,
    /// How often.
    pub count: u64,
}

/// What a person granted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Grant {
    /// The number of its request.
    pub id: u64,
    /// What it is about.
    #[serde(flatten)]
    pub matter: Matter,
    /// Who granted it.
    pub by: String,
    /// When it ends, in milliseconds since the epoch.
    pub until_ms: u64,
    /// When it ends, by `CLOCK_BOOTTIME` of this boot, in nanoseconds.
    pub until_ns: u64,
}

/// An agent that reaches nothing.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Quarantine {
    /// The agent.
    pub agent: String,
    /// Who ordered it, or the rule that did.
    pub by: String,
    /// Since when, in milliseconds since the epoch.
    pub since_ms: u64,
    /// Nobody registered it: the agent is the inventory's id of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_unregistered: bool,
}

/// The time by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Milliseconds since the epoch.
    pub ms: u64,
    /// `CLOCK_BOOTTIME`, in nanoseconds.
    pub boot_ns: u64,
}

/// All of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Controls {
    boot_id: String,
    saved_ms: u64,
    next_id: u64,
    requests: BTreeMap<u64, Request>,
    grants: BTreeMap<u64, Grant>,
    quarantined: BTreeMap<String, Quarantine>,
    #[serde(default)]
    modes: Modes,
    /// Something is not on disk yet.
    #[serde(skip)]
    has_changed: bool,
}

impl Controls {
    /// Goes on with what was written, perhaps before a reboot.
    pub fn restored(mut self, boot_id: &str, now: Now) -> Self {
        if self.boot_id != boot_id {
            let is_behind = now.ms < self.saved_ms;
            for grant in self.grants.values_mut() {
                let left_ms = if is_behind { 0 } else { grant.until_ms.saturating_sub(now.ms) };
                let left_ms = left_ms.min(GRANT_MAX_S * MS_PER_S);
                grant.until_ns = now.boot_ns.saturating_add(left_ms * NS_PER_MS);
            }
            self.boot_id = boot_id.to_owned();
            self.has_changed = true;
        }
        self
    }

    /// What is to be written, if something changed since the last time or grants hold whose
    /// remaining time is to be known.
    pub fn to_save(&mut self, now: Now) -> Option<String> {
        if !std::mem::take(&mut self.has_changed) {
            return None;
        }
        self.saved_ms = now.ms;
        serde_json::to_string(self).ok()
    }

    /// What was to be written was not.
    pub fn keep_changed(&mut self) {
        self.has_changed = true;
    }

    /// Requests that wait, the oldest first.
    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.values()
    }

    /// Grants that hold.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values()
    }

    /// What is quarantined.
    pub fn quarantined(&self) -> impl Iterator<Item = &Quarantine> {
        self.quarantined.values()
    }

    /// Quarantined agents that nobody registered, by the inventory's ids.
    pub fn held(&self) -> impl Iterator<Item = &str> {
        let held = self.quarantined.values().filter(|one| one.is_unregistered);
        held.map(|one| one.agent.as_str())
    }

    /// Modes that are set.
    pub fn modes(&self) -> &Modes {
        &self.modes
    }

    /// Replaces what is set.
    pub fn set_modes(&mut self, modes: Modes) {
        self.modes = modes;
        self.has_changed = true;
    }

    /// Takes in that a person was needed. Gives the number of the request; `None` if too many wait
    /// already.
    pub fn ask(
        &mut self,
        matter: Matter,
        rule: String,
        processes: Vec<String>,
        now_ms: u64,
    ) -> Option<u64> {
        let known = self.requests.values_mut().find(|request| request.matter == matter);
        if let Some(request) = known {
            request.count += 1;
            (request.last_ms, request.processes) = (now_ms, processes);
            self.has_changed = true;
            return Some(request.id);
        }
        let of_agent = self.requests.values().filter(|one| one.matter.agent == matter.agent);
        if of_agent.count() >= REQUESTS_PER_AGENT_MAX || self.requests.len() >= REQUESTS_MAX {
            return None;
        }
        self.next_id += 1;
        let (id, first_ms) = (self.next_id, now_ms);
        let request = Request { id, matter, rule, processes, first_ms, last_ms: now_ms, count: 1 };
        self.requests.insert(id, request);
        self.has_changed = true;
        Some(id)
    }

    /// The request with a number.
    pub fn request(&self, id: u64) -> Option<&Request> {
        self.requests.get(&id)
    }

    /// Answers a request: with a grant for so many seconds, at most [`GRANT_MAX_S`].
    ///
    /// # Errors
    /// No such request, or too many grants hold; what to say about it.
    pub fn approve(
        &mut self,
        id: u64,
        seconds: u64,
        by: &str,
        now: Now,
    ) -> Result<Grant, &'static str> {
        if self.grants.len() >= limits::GRANTS_MAX as usize {
            return Err("too many grants hold; revoke some");
        }
        if seconds == 0 || seconds > GRANT_MAX_S {
            return Err("a grant lasts from a second to 30 days");
        }
        let request = self.requests.remove(&id).ok_or("no such request waits")?;
        let ms = seconds * MS_PER_S;
        let grant = Grant {
            id,
            matter: request.matter,
            by: by.to_owned(),
            until_ms: now.ms.saturating_add(ms),
            until_ns: now.boot_ns.saturating_add(ms * NS_PER_MS),
        };
        // One that holds for the same is replaced.
        self.grants.retain(|_, old| old.matter != grant.matter);
        self.grants.insert(id, grant.clone());
        self.has_changed = true;
        Ok(grant)
    }

    /// Answers a request with no.
    pub fn refuse(&mut self, id: u64) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        self.has_changed = true;
        Some(request)
    }

    /// Ends a grant.
    pub fn revoke(&mut self, id: u64) -> Option<Grant> {
        let grant = self.grants.remove(&id)?;
        self.has_changed = true;
        Some(grant)
    }

    /// Grants whose time is over, which are forgotten.
    pub fn lapsed(&mut self, boot_ns: u64) -> Vec<Grant> {
        let ended = self.grants.extract_if(.., |_, grant| grant.until_ns <= boot_ns);
        let ended: Vec<Grant> = ended.map(|(_, grant)| grant).collect();
        self.has_changed |= !ended.is_empty();
        ended
    }

    /// Quarantines an agent. False if it was already.
    pub fn quarantine(&mut self, agent: &str, by: &str, now_ms: u64) -> bool {
        self.keep(agent, by, now_ms, false)
    }

    /// The same for one that nobody registered, by the inventory's id.
    pub fn hold(&mut self, agent: &str, by: &str, now_ms: u64) -> bool {
        self.keep(agent, by, now_ms, true)
    }

    fn keep(&mut self, agent: &str, by: &str, since_ms: u64, is_unregistered: bool) -> bool {
        if self.quarantined.contains_key(agent) {
            return false;
        }
        let (agent, by) = (agent.to_owned(), by.to_owned());
        let one = Quarantine { agent: agent.clone(), by, since_ms, is_unregistered };
        self.quarantined.insert(agent, one);
        self.has_changed = true;
        true
    }

    /// Ends a quarantine, and gives what it was.
    pub fn release(&mut self, agent: &str) -> Option<Quarantine> {
        let was = self.quarantined.remove(agent);
        self.has_changed |= was.is_some();
        was
    }

    /// Takes back that one was ended.
    pub fn restore(&mut self, was: Quarantine) {
        self.quarantined.insert(was.agent.clone(), was);
        self.has_changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Now = Now { ms: 1_000_000, boot_ns: 5_000_000_000 };

    fn matter(agent: &str, destination: &str) -> Matter {
        let (agent, destination) = (agent.to_owned(), destination.to_owned());
        Matter { agent, destination, port: 443, protocol: 6 }
    }

    fn ask(controls: &mut Controls, agent: &str, destination: &str) -> Option<u64> {
        controls.ask(matter(agent, destination), "bot/egress/1".into(), Vec::new(), START.ms)
    }

    fn after(seconds: i64) -> Now {
        let ms = START.ms.saturating_add_signed(seconds * 1_000);
        Now { ms, boot_ns: START.boot_ns.saturating_add_signed(seconds * 1_000_000_000) }
    }

    #[test]
    fn one_request_for_each_destination_and_never_so_many_that_others_have_no_place() {
        let mut controls = Controls::default();
        let first = ask(&mut controls, "bot", "a.example");
        assert_eq!(first, ask(&mut controls, "bot", "a.example"));
        assert_eq!(controls.request(1).unwrap().count, 2);
        for index in 0..2 * REQUESTS_PER_AGENT_MAX {
            ask(&mut controls, "bot", &format!("{index}.example"));
        }
        assert_eq!(controls.requests().count(), REQUESTS_PER_AGENT_MAX);
        assert!(ask(&mut controls, "other", "a.example").is_some());
    }

    #[test]
    fn a_grant_takes_the_place_of_its_request_and_lapses() {
        let mut controls = Controls::default();
        let id = ask(&mut controls, "bot", "a.example").unwrap();
        for seconds in [0, GRANT_MAX_S + 1] {
            controls.approve(id, seconds, "dana", START).unwrap_err();
        }
        let grant = controls.approve(id, 60, "dana", START).unwrap();
        assert_eq!(grant.until_ns, after(60).boot_ns);
        assert_eq!(controls.requests().count(), 0);
        controls.approve(id, 60, "dana", START).unwrap_err();
        assert_eq!(controls.lapsed(after(59).boot_ns), []);
        assert_eq!(controls.lapsed(after(60).boot_ns), [grant]);
        assert_eq!(controls.grants().count(), 0);
    }

    #[test]
    fn no_clock_lengthens_a_grant() {
        // Wall clock at the restart in seconds from the grant, boot, and what is left of 60 s.
        let rows = [(10, "a", 60), (10, "b", 50), (59, "b", 1), (70, "b", 0), (-10, "b", 0)];
        for (seconds, boot, left) in rows {
            let mut controls = Controls::default().restored("a", START);
            let id = ask(&mut controls, "bot", "a.example").unwrap();
            controls.approve(id, 60, "dana", START).unwrap();
            let text = controls.to_save(START).unwrap();
            let read: Controls = serde_json::from_str(&text).unwrap();
            let now = Now { ms: after(seconds).ms, boot_ns: START.boot_ns };
            let read = read.restored(boot, now);
            let until = read.grants().next().unwrap().until_ns;
            assert_eq!(until - START.boot_ns, left * 1_000_000_000, "{seconds} {boot}");
        }
    }

    #[test]
    fn a_quarantine_ends_by_a_release_only() {
        let mut controls = Controls::default();
        assert!(controls.quarantine("bot", "dana", 1));
        assert!(!controls.quarantine("bot", "root", 2));
        let text = controls.to_save(START).unwrap();
        assert_eq!(controls.to_save(START), None);
        let mut read = serde_json::from_str::<Controls>(&text).unwrap().restored("b", START);
        assert_eq!(read.quarantined().next().unwrap().by, "dana");
        assert!(read.release("bot").is_some() && read.release("bot").is_none());
    }
}
