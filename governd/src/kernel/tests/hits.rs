//! How often rules decided: counted for governed subjects, by generation and rule.

use std::net::UdpSocket;

use governd_common::{
    key::RuleKey,
    verdict::{Mode, Verdict},
};

use super::{
    host::{Host, is_root},
    image::{DEFAULT_RULE, FIRST_SET, Policy},
};
use crate::kernel::KernelOptions;

/// Number of the first rule of a [`Policy`].
const FIRST_RULE: u32 = FIRST_SET + 1_000;

/// What was counted since the last time: generation, rule, count.
fn taken(host: &mut Host) -> Vec<(u64, u32, u64)> {
    let hits = host.kernel.take_rule_hits().unwrap();
    assert!(hits.iter().all(|(_, hits)| hits.last_ns > 0), "{hits:?}");
    let row = |(RuleKey { generation, rule, .. }, count)| (generation, rule, count);
    let mut rows: Vec<_> = hits.into_iter().map(|(key, hits)| row((key, hits.count))).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn each_decision_counts_for_its_rule_and_generation_and_nobodys_do_not() {
    if !is_root() {
        return;
    }
    let server = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let allowed = format!("udp-open 127.0.0.2:{port};");
    let denied = format!("udp-sendto 127.0.0.3:{port};");
    let mut host = Host::new(KernelOptions::default());
    let policy = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce);
    let policy = policy.network(Verdict::Allow, "127.0.0.2", (0, u16::MAX), 0);
    host.kernel.install(&policy.image).unwrap();
    host.run(&[&*allowed, &*allowed, &*denied].concat());
    assert_eq!(taken(&mut host), [(1, DEFAULT_RULE, 1), (1, FIRST_RULE, 2)]);
    assert_eq!(taken(&mut host), []);
    host.run(&allowed);
    host.kernel.install(&policy.image).unwrap();
    host.run(&allowed);
    assert_eq!(taken(&mut host), [(1, FIRST_RULE, 1), (2, FIRST_RULE, 1)]);
    host.kernel.install(&Policy::empty().image).unwrap();
    host.run(&allowed);
    assert_eq!(taken(&mut host), []);
}
