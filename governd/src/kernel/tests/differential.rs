//! The programs and `decide()` in user space agree, over random policies and flows.
//!
//! `BPF_PROG_TEST_RUN` does not take programs of the type `sock_addr` (the kernel answers
//! ENOTSUPP), so the flows are real calls on datagram sockets: `connect`, which sends nothing, and
//! `sendto` in a network namespace that leads nowhere.

use std::{cell::RefCell, collections::BTreeMap, net::SocketAddr};

use governd_common::{
    address::Address,
    decide::{Decision, Flow, Tables, decide},
    event::Hook,
    key::{BindingKey, GrantKey},
    limits::MEMBERS_MAX,
    table::{Binding, BoundSet, RuleBlock, RuleEntry, Subject},
    verdict::{Mode, Reason, Verdict},
};
use proptest::{
    collection::{btree_map, vec},
    prelude::*,
    test_runner::{Config, TestRunner},
};
use zerocopy::FromZeros;

use super::{
    host::{Host, destination, is_root},
    image::{AGENT, Policy, block},
};
use crate::{
    kernel::KernelOptions,
    policy::{image::TableImage, tables::ImageTables},
};

const SETS: u32 = 6;
const PORTS: [u16; 3] = [53, 443, 8_443];
const PROTOCOL_UDP: u8 = 17;

/// Addresses that differ late, so that prefixes of every length matter.
fn address() -> impl Strategy<Value = Address> {
    let bits = 0_u8..4;
    prop_oneof![
        (bits.clone(), 0_u8..4).prop_map(|(c, d)| Address::v4([203, 0, 113 + c, d])),
        (bits, 0_u8..4).prop_map(|(c, d)| {
            let mut bytes = [0; 16];
            (bytes[0], bytes[1], bytes[7], bytes[15]) = (0x20, 0x01, c + 1, d);
            (bytes[2], bytes[3]) = (0x0d, 0xb8);
            Address::v6(bytes)
        }),
        Just(Address::v4([127, 0, 0, 1])),
    ]
}

fn entry() -> impl Strategy<Value = RuleEntry> {
    let ports = prop_oneof![
        Just((0, u16::MAX)),
        prop::sample::select(PORTS.as_slice()).prop_map(|port| (port, port)),
    ];
    let protocol = prop_oneof![Just(0), Just(PROTOCOL_UDP), Just(6)];
    (ports, protocol, any::<bool>(), 0_u16..4, 1_u32..100, 0_u8..16).prop_map(
        |((port_first, port_last), protocol, allow, specificity, rule, flags)| RuleEntry {
            port_first,
            port_last,
            protocol,
            verdict: u8::from(allow),
            specificity,
            rule,
            flags,
            reserved: [0; 3],
        },
    )
}

fn subject() -> impl Strategy<Value = Subject> {
    (any::<bool>(), any::<bool>(), 0_u16..16, 1_u32..100).prop_map(
        |(enforce, allow, flags, default_rule)| Subject {
            mode: u8::from(enforce),
            default_verdict: u8::from(allow),
            flags,
            default_rule,
            members: Subject::ALONE,
        },
    )
}

fn bindings() -> impl Strategy<Value = Vec<(BindingKey, Binding)>> {
    let bound = (0..=SETS, any::<bool>()).prop_map(|(set, lives)| BoundSet {
        expires_ns: if lives { u64::MAX } else { 1 },
        set,
        reserved: 0,
    });
    let subject = prop_oneof![Just(AGENT), Just(BindingKey::HOST), Just(AGENT + 1)];
    vec(((subject, address()), vec(bound, 1..8)), 0..12).prop_map(|all| {
        all.into_iter()
            .map(|((subject, address), sets)| {
                let mut binding = Binding::new_zeroed();
                binding.sets[..sets.len()].copy_from_slice(&sets);
                (BindingKey { subject, address }, binding)
            })
            .collect()
    })
}

/// What the policy of one agent says.
type Said = (Subject, BTreeMap<u32, Vec<RuleEntry>>, Vec<(Address, u8, u32)>);

fn said() -> impl Strategy<Value = Said> {
    let blocks = btree_map(1..=SETS, vec(entry(), 0..8), 0..6);
    let networks = vec((address(), 96_u8..=128, 1..=SETS), 0..8);
    (subject(), blocks, networks)
}

fn say(image: &mut TableImage, agent: u32, (subject, blocks, networks): Said) {
    image.subjects.push((agent, subject));
    let rules = |entries: Vec<RuleEntry>| -> RuleBlock { block(&entries) };
    let blocks = blocks.into_iter().map(|(set, entries)| (agent, set, rules(entries)));
    image.blocks.extend(blocks);
    for (address, prefix, set) in networks {
        let address = masked(address, prefix);
        let is_other = |(of, old, bits, _): &(u32, Address, u8, u32)| {
            (*of, *old, *bits) != (agent, address, prefix)
        };
        image.networks.retain(is_other);
        image.networks.push((agent, address, prefix, set));
    }
}

/// Tables without selectors: those are the same in every case. The agent is one, or one that others
/// started.
fn tables() -> impl Strategy<Value = TableImage> {
    (said(), vec(said(), 0..MEMBERS_MAX), vec(address(), 0..3)).prop_map(
        |(own, others, resolvers)| {
            let mut image = Policy::empty().image;
            if others.is_empty() {
                say(&mut image, AGENT, own);
            } else {
                let mut members = Subject::ALONE;
                let all = std::iter::once(own).chain(others).zip(AGENT + 1..);
                for ((said, agent), member) in all.zip(&mut members) {
                    *member = agent;
                    say(&mut image, agent, said);
                }
                image.subjects.push((AGENT, Subject { members, ..Subject::new_zeroed() }));
            }
            image.resolvers = resolvers;
            image.resolvers.sort_by_key(|address| address.bytes);
            image.resolvers.dedup();
            image
        },
    )
}

fn masked(address: Address, prefix: u8) -> Address {
    let bits = u128::from_be_bytes(address.bytes);
    let mask = u128::MAX << (128 - u32::from(prefix));
    Address { bytes: (bits & mask).to_be_bytes() }
}

#[test]
fn the_programs_decide_as_user_space_does() {
    if !is_root() {
        return;
    }
    let host = RefCell::new(Host::new(KernelOptions::default()));
    let flows = vec((address(), prop::sample::select(PORTS.as_slice())), 1..60);
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&(tables(), bindings(), flows), |case| {
        let (image, bindings, flows) = case;
        let mut host = host.borrow_mut();
        let image = install(&mut host, image, &bindings);
        let tables = Bound { tables: ImageTables::new(&image), bindings: &bindings };
        compare(&mut host, ("udp-open", Hook::Connect), &tables, &flows)?;
        compare(&mut host, ("netns;udp-sendto", Hook::Sendmsg), &tables, &flows)
    });
    outcome.unwrap();
}

/// The image's tables, with bindings by set and not by name.
pub(super) struct Bound<'a> {
    pub(super) tables: ImageTables<'a>,
    pub(super) bindings: &'a [(BindingKey, Binding)],
}

impl Tables for Bound<'_> {
    fn subject(&self, subject: u32) -> Option<&Subject> {
        self.tables.subject(subject)
    }

    fn binding(&self, subject: u32, address: &Address) -> Option<&Binding> {
        let key = BindingKey { subject, address: *address };
        // The kernel keeps the last one of a key.
        self.bindings.iter().rfind(|(found, _)| *found == key).map(|(_, binding)| binding)
    }

    fn network(&self, subject: u32, address: &Address) -> Option<u32> {
        self.tables.network(subject, address)
    }

    fn block(&self, subject: u32, set: u32) -> Option<&RuleBlock> {
        self.tables.block(subject, set)
    }

    fn is_resolver(&self, address: &Address) -> bool {
        self.tables.is_resolver(address)
    }

    fn granted_until(&self, grant: &GrantKey) -> u64 {
        self.tables.granted_until(grant)
    }

    fn is_quarantined(&self, subject: u32) -> bool {
        self.tables.is_quarantined(subject)
    }
}

/// Puts the tables in force for the host's cgroup, and gives them back as they are.
fn install(
    host: &mut Host,
    mut image: TableImage,
    bindings: &[(BindingKey, Binding)],
) -> TableImage {
    let selectors = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce).image;
    image.flags = selectors.flags;
    image.any = selectors.any;
    image.selectors = selectors.selectors;
    image.cgroups = selectors.cgroups;
    let old: Vec<(BindingKey, Binding)> = host.kernel.bindings().unwrap();
    let none: Vec<_> = old.iter().map(|(key, _)| (*key, Binding::new_zeroed())).collect();
    host.kernel.rebind(&none).unwrap();
    host.kernel.rebind(bindings).unwrap();
    host.kernel.install(&image).unwrap();
    image
}

fn compare(
    host: &mut Host,
    (step, hook): (&str, Hook),
    tables: &Bound<'_>,
    flows: &[(Address, u16)],
) -> Result<(), TestCaseError> {
    let (prefix, step) = step.split_once(';').unwrap_or(("", step));
    let script = flows.iter().map(|(address, port)| {
        let to = SocketAddr::new((*address).into(), *port);
        format!("{step} {to}")
    });
    let script: Vec<String> = std::iter::once(prefix.to_owned()).chain(script).collect();
    let outcomes = host.run(&script.join(";"));
    let outcomes_len = outcomes.len();
    let events = host.flows().into_iter();
    let mut events = events.filter(|event| event.header.hook == hook as u16);
    for ((address, port), outcome) in flows.iter().zip(outcomes) {
        let flow = Flow {
            subject: AGENT,
            address: *address,
            port: *port,
            protocol: PROTOCOL_UDP,
            now_ns: 2,
        };
        let expected = decide(tables, &flow);
        prop_assert_eq!(outcome == "EACCES", expected.refuses(), "{:?} {:?}", flow, expected);
        if expected.quiet && !expected.refuses() {
            continue;
        }
        let event = events.next().unwrap();
        let decided = Decision {
            verdict: Verdict::from_byte(event.verdict),
            reason: Reason::from_byte(event.reason).unwrap(),
            mode: Mode::from_byte(event.mode),
            rule: event.rule,
            set: event.set,
            quiet: expected.quiet,
            proof: expected.proof,
        };
        prop_assert_eq!(decided, expected, "{:?}", flow);
        prop_assert_eq!(destination(&event), SocketAddr::new((*address).into(), *port));
    }
    prop_assert_eq!(outcomes_len, flows.len());
    prop_assert_eq!(events.next(), None);
    Ok(())
}
