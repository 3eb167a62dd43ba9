//! Policies for tests, as tables.

use std::net::IpAddr;

use governd_common::{
    address::Address,
    limit::Limits,
    limits::RULES_PER_BLOCK_MAX,
    name::Pattern,
    table::{
        RuleBlock, RuleEntry, SelectorSet, Subject, entry_flag, set_id, settings_flag, subject_flag,
    },
    verdict::{Mode, Verdict},
};
use zerocopy::FromZeros;

use crate::policy::image::TableImage;

/// The agent of most tests.
pub(super) const AGENT: u32 = 7;
pub(super) const DEFAULT_RULE: u32 = 100;
/// The set of the first rule; the others are counted up from it.
pub(super) const FIRST_SET: u32 = 1;

/// A policy under construction.
#[derive(Clone)]
pub(super) struct Policy {
    pub(super) image: TableImage,
    next_set: u32,
    /// Bits of `entry_flag` that the rules which follow get.
    flags: u8,
}

impl Policy {
    /// Nobody is governed.
    pub(super) fn empty() -> Self {
        let mut image = TableImage { selector_words: 1, ..TableImage::default() };
        let subject = Subject {
            mode: Mode::Monitor as u8,
            default_verdict: Verdict::Allow as u8,
            flags: subject_flag::QUIET_DEFAULT,
            default_rule: 0,
            members: Subject::ALONE,
        };
        image.subjects.push((0, subject));
        Self { image, next_set: FIRST_SET, flags: entry_flag::VERIFY_DNS | entry_flag::QUIC }
    }

    /// Every process of a cgroup is the agent.
    pub(super) fn of_cgroup(cgroup: u64, mode: Mode) -> Self {
        let mut policy = Self::empty();
        policy.image.flags |= settings_flag::CLASSIFY_AT_CONNECT;
        let first = selectors(1);
        policy.image.any = [first, first, SelectorSet::default()];
        policy.image.selectors = vec![AGENT];
        policy.image.cgroups.push((cgroup, first));
        policy.subject(mode, Verdict::Deny, 0)
    }

    /// Every process that executes a file is the agent.
    pub(super) fn of_exe(exe: (u32, u64), mode: Mode) -> Self {
        let mut policy = Self::empty();
        let first = selectors(1);
        policy.image.any = [SelectorSet::default(), first, first];
        policy.image.selectors = vec![AGENT];
        policy.image.exes.push((exe, first));
        policy.subject(mode, Verdict::Deny, 0)
    }

    pub(super) fn subject(mut self, mode: Mode, default: Verdict, flags: u16) -> Self {
        self.image.subjects.retain(|(subject, _)| *subject != AGENT);
        let subject = Subject {
            mode: mode as u8,
            default_verdict: default as u8,
            flags,
            default_rule: DEFAULT_RULE,
            members: Subject::ALONE,
        };
        self.image.subjects.push((AGENT, subject));
        self
    }

    /// How much the agent may do.
    pub(super) fn limits(mut self, limits: Limits) -> Self {
        self.image.limits.push((AGENT, limits));
        self
    }

    /// Bits of `entry_flag` of the rules that follow; without it DNS alone proves names.
    pub(super) fn verified_by(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// A rule about a network, with the number that it gets.
    pub(super) fn network(
        mut self,
        verdict: Verdict,
        network: &str,
        ports: (u16, u16),
        protocol: u8,
    ) -> Self {
        let (address, prefix) = network.split_once('/').unwrap_or((network, ""));
        let address: IpAddr = address.parse().unwrap();
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = if prefix.is_empty() { whole } else { prefix.parse().unwrap() };
        let set = self.take_set();
        let bits = prefix + (128 - whole);
        self.image.networks.push((AGENT, address.into(), bits, set));
        self.rule(set, verdict, ports, protocol, u16::from(bits))
    }

    /// A rule about a name.
    pub(super) fn name(mut self, verdict: Verdict, pattern: &str) -> Self {
        let set = self.take_set();
        let (key, bits) = Pattern::parse(pattern.as_bytes()).unwrap().key(0);
        let bytes = &key.bytes[1..bits as usize / 8];
        self.image.names.push((bytes.into(), set));
        let policy = self.rule(set, verdict, (0, u16::MAX), 0, 1_000);
        if policy.flags & entry_flag::VERIFY_SNI == 0 { policy } else { policy.any_address() }
    }

    /// As the compiler has it for rules that the first bytes alone decide.
    fn any_address(mut self) -> Self {
        self.image.blocks.retain(|(_, set, _)| *set != set_id::ANY_ADDRESS);
        self.rule(set_id::ANY_ADDRESS, Verdict::Allow, (0, u16::MAX), 0, 1_000)
    }

    pub(super) fn resolver(mut self, address: &str) -> Self {
        let address: IpAddr = address.parse().unwrap();
        self.image.resolvers.push(Address::from(address));
        self
    }

    fn take_set(&mut self) -> u32 {
        self.next_set += 1;
        self.next_set - 1
    }

    fn rule(
        mut self,
        set: u32,
        verdict: Verdict,
        (port_first, port_last): (u16, u16),
        protocol: u8,
        specificity: u16,
    ) -> Self {
        let verdict = verdict as u8;
        let rule = set.wrapping_add(1_000);
        let entry = RuleEntry {
            port_first,
            port_last,
            protocol,
            verdict,
            specificity,
            rule,
            flags: self.flags,
            reserved: [0; 3],
        };
        self.image.blocks.push((AGENT, set, block(&[entry])));
        self
    }
}

pub(super) fn block(entries: &[RuleEntry]) -> RuleBlock {
    let mut block = RuleBlock::new_zeroed();
    block.len = entries.len() as u32;
    assert!(entries.len() <= RULES_PER_BLOCK_MAX);
    block.entries[..entries.len()].copy_from_slice(entries);
    block
}

fn selectors(bits: u64) -> SelectorSet {
    let mut set = SelectorSet::default();
    set.words[0] = bits;
    set
}
