//! One policy replaces another.

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use governd_common::{
    address::Address,
    key::BindingKey,
    limits::RESOLVERS_MAX,
    names::map,
    table::{Binding, BoundSet, Task},
    verdict::{Mode, Verdict},
};
use zerocopy::FromZeros;

use super::{
    host::{Host, is_root},
    image::{AGENT, Policy},
};
use crate::kernel::{KernelError, KernelOptions};

const SWAPS: u32 = 100;
const CONNECTS: usize = 10_000;

/// Both policies deny 127.0.0.3; each allows an address that the other denies. 127.0.0.3 is allowed
/// by nothing that a mixture of them could not invent: the set that one of them calls allowed, the
/// other uses for this address.
fn policy(cgroup: u64, is_first: bool) -> Policy {
    let everything = (0, u16::MAX);
    let (allowed, denied) =
        if is_first { ("127.0.0.2", "127.0.0.3") } else { ("127.0.0.4", "127.0.0.3") };
    let policy = Policy::of_cgroup(cgroup, Mode::Enforce);
    if is_first {
        policy.network(Verdict::Allow, allowed, everything, 0).network(
            Verdict::Deny,
            denied,
            everything,
            0,
        )
    } else {
        policy.network(Verdict::Deny, denied, everything, 0).network(
            Verdict::Allow,
            allowed,
            everything,
            0,
        )
    }
}

#[test]
fn the_policy_before_is_in_the_tables_until_it_is_retired() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let cgroup = host.cgroup.id();
    let networks = |host: &Host| [0, 1].map(|slot| host.kernel.tables.cidrs.written(slot).len());
    host.kernel.install(&policy(cgroup, true).image).unwrap();
    assert_eq!(networks(&host), [0, 2]);
    host.kernel.install(&policy(cgroup, false).image).unwrap();
    assert_eq!(networks(&host), [2, 2]);
    host.kernel.retire().unwrap();
    host.kernel.retire().expect("twice is no error");
    assert_eq!(networks(&host), [2, 0]);
    // Nor does the next one need that.
    host.kernel.install(&policy(cgroup, true).image).unwrap();
    host.kernel.install(&policy(cgroup, false).image).unwrap();
    assert_eq!(networks(&host), [2, 2]);
}

#[test]
fn no_swap_ever_lets_through_what_neither_policy_allows() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let cgroup = host.cgroup.id();
    let server = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = server.local_addr().unwrap().port();
    host.kernel.install(&policy(cgroup, true).image).unwrap();
    let done = AtomicBool::new(false);
    let path = host.cgroup.path.clone();
    let (outcomes, generations) = thread::scope(|scope| {
        let agent = scope.spawn(|| {
            let script = format!("repeat {CONNECTS} 127.0.0.3:{port}");
            let outcome = super::agent::run(&std::env::current_exe().unwrap(), &path, &script);
            done.store(true, Ordering::Release);
            outcome
        });
        let mut generations = Vec::new();
        let end = Instant::now() + Duration::from_secs(120);
        // As many swaps as asked for, and on as long as the agent connects.
        while generations.len() < SWAPS as usize || !done.load(Ordering::Acquire) {
            let image = policy(cgroup, generations.len() % 2 == 1).image;
            generations.push(host.kernel.install(&image).unwrap());
            assert!(Instant::now() < end, "the agent hangs");
        }
        (agent.join().unwrap(), generations)
    });
    assert_eq!(outcomes, [format!("refused {CONNECTS}")]);
    let last = *generations.last().unwrap();
    assert_eq!(generations, (2..=last).collect::<Vec<u64>>());
    // Each decision belongs to one policy and says so.
    let flows = host.flows();
    assert_eq!(flows.len(), CONNECTS);
    assert!(flows.iter().all(|flow| flow.verdict == Verdict::Deny as u8));
    let judged_by: std::collections::BTreeSet<u64> =
        flows.iter().map(|flow| flow.header.generation).collect();
    // How many depends on how fast the machine swaps: each waits out its grace period.
    assert!(judged_by.len() > 10, "{judged_by:?}");
    for flow in &flows {
        // The first policy's second rule, the second one's first.
        let set = if flow.header.generation % 2 == 1 { 2 } else { 1 };
        assert_eq!(flow.set, set, "{flow:?}");
    }
}

#[test]
fn a_policy_that_does_not_fit_leaves_the_one_in_force() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let cgroup = host.cgroup.id();
    let server = UdpSocket::bind("127.0.0.2:0").unwrap();
    let step = format!("udp-connect {}", server.local_addr().unwrap());
    host.kernel.install(&policy(cgroup, true).image).unwrap();
    assert_eq!(host.one(&step), "ok");
    let mut large = policy(cgroup, false);
    large.image.resolvers = (0..=RESOLVERS_MAX / 2)
        .map(|number| Address::v4((number + (10 << 24)).to_be_bytes()))
        .collect();
    let error = host.kernel.install(&large.image).unwrap_err();
    assert!(matches!(
        error,
        KernelError::TableFull { map: map::RESOLVERS, room: 512, wanted: 513 }
    ));
    let mut wrong = policy(cgroup, false);
    wrong.image.subjects.clear();
    assert!(matches!(host.kernel.install(&wrong.image), Err(KernelError::Image(_))));
    assert_eq!((host.kernel.generation(), host.one(&step)), (1, "ok".to_owned()));
    host.kernel.install(&policy(cgroup, false).image).unwrap();
    assert_eq!((host.kernel.generation(), host.one(&step)), (2, "EACCES".to_owned()));
}

#[test]
fn bindings_outlive_a_policy_and_can_be_replaced() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let named = || {
        Policy::of_cgroup(host.cgroup.id(), Mode::Enforce).name(Verdict::Allow, "api.example.com")
    };
    let image = named().image;
    host.kernel.install(&image).unwrap();
    let key = BindingKey { subject: AGENT, address: Address::v4([203, 0, 113, 9]) };
    let mut binding = Binding::new_zeroed();
    binding.sets[0] = BoundSet { expires_ns: u64::MAX, set: 1, reserved: 0 };
    host.kernel.rebind(&[(key, binding)]).unwrap();
    let step = "udp-connect 203.0.113.9:443";
    assert_ne!(host.one(step), "EACCES");
    host.kernel.install(&image).unwrap();
    assert_ne!(host.one(step), "EACCES");
    let expired = BoundSet { expires_ns: 1, set: 1, reserved: 0 };
    binding.sets[0] = expired;
    host.kernel.rebind(&[(key, binding)]).unwrap();
    assert_eq!(host.one(step), "EACCES", "it has expired");
    host.kernel.rebind(&[(key, Binding::new_zeroed())]).unwrap();
    host.kernel.rebind(&[(key, Binding::new_zeroed())]).expect("twice is no error");
    assert_eq!(host.kernel.bindings().unwrap(), []);
}

#[test]
fn a_process_that_runs_already_can_be_tracked() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    let policy = Policy::of_exe((0, 1), Mode::Enforce);
    host.kernel.install(&policy.image).unwrap();
    let step = "udp-connect 127.0.0.1:9";
    assert_eq!(host.one(step), "ok");
    // What the agent starts from is this process.
    let tgid = std::process::id();
    host.kernel.set_task(tgid, Task { subject: AGENT, root: tgid, since_ns: 0 }).unwrap();
    assert_eq!(host.one(step), "EACCES");
    let tasks = host.kernel.tasks().unwrap();
    assert!(tasks.iter().any(|(found, task)| *found == tgid && task.subject == AGENT));
    host.kernel.remove_task(tgid).unwrap();
    assert_eq!(host.one(step), "ok");
}
