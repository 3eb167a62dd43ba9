//! What others write into the tables is seen, and gone with the next policy.

use governd_common::{
    key::{DecisionKey, DelegationKey, GrantKey, UidKey},
    names::map,
    table::SelectorSet,
    verdict::{Mode, Verdict},
};
use zerocopy::FromZeros;

use super::{
    host::{Host, is_root},
    image::{AGENT, Policy},
};
use crate::kernel::{KernelOptions, pod::Shared, tables::PolicyTables};

/// More names than are looked at in one step.
const NAMES: usize = 1_000;
/// Steps in which all of them are.
const STEPS: usize = 20;

fn add_uid(tables: &mut PolicyTables, slot: u32) {
    let key = Shared(UidKey { slot, uid: 65_534 });
    tables.uids.fill(slot, [(key, Shared(SelectorSet::new_zeroed()))].into_iter()).unwrap();
}

fn change_decision(tables: &mut PolicyTables, slot: u32) {
    let set = governd_common::table::set_id::ANY_ADDRESS;
    let key = Shared(DecisionKey { slot, subject: AGENT, set });
    let block = Shared(super::image::block(&[]));
    tables.decisions.fill(slot, [(key, block)].into_iter()).unwrap();
}

fn add_delegation(tables: &mut PolicyTables, slot: u32) {
    let key = Shared(DelegationKey { slot, subject: AGENT, agent: AGENT });
    tables.delegations.fill(slot, [(key, 0)].into_iter()).unwrap();
}

/// What is done to tables, and the map that is not as it was.
type Row = (&'static str, fn(&mut PolicyTables, u32));

const ROWS: &[Row] = &[
    (map::UIDS, add_uid),
    (map::DECISIONS, change_decision),
    (map::NAMES, |tables, slot| tables.names.empty(slot).unwrap()),
    (map::SUBJECTS, |tables, slot| tables.subjects.empty(slot).unwrap()),
    (map::DELEGATIONS, add_delegation),
    (map::ACTIVE, |tables, _| tables.active.set(0, 0, 0).unwrap()),
    (map::SETTINGS, |tables, slot| {
        tables.settings.set(slot, Shared(FromZeros::new_zeroed()), 0).unwrap();
    }),
    (map::GRANTS, |tables, _| {
        tables.grants.insert(Shared(GrantKey::new_zeroed()), u64::MAX, 0).unwrap();
    }),
];

#[test]
fn what_others_write_into_tables_is_seen_and_gone_with_the_next_policy() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let mut policy = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce);
    for number in 0..NAMES {
        policy = policy.name(Verdict::Allow, &format!("host-{number}.example.com"));
    }
    let kernel = &mut host.kernel;
    assert_eq!(kernel.altered().unwrap(), [""; 0], "before there is a policy");
    kernel.install(&policy.image).unwrap();
    let steps = |kernel: &mut crate::kernel::Kernel| {
        (0..STEPS).flat_map(|_| kernel.altered().unwrap()).collect::<Vec<_>>()
    };
    for (name, change) in ROWS {
        assert_eq!(steps(kernel), [""; 0], "before {name}");
        let slot = kernel.generation() as u32 & 1;
        change(&mut kernel.tables, slot);
        let altered = steps(kernel);
        assert!(altered.contains(name), "{name}: {altered:?}");
        assert!(altered.iter().all(|found| found == name), "{name}: {altered:?}");
        kernel.reread().unwrap();
        kernel.set_grants(&[]).unwrap();
        kernel.install(&policy.image).unwrap();
    }
    assert_eq!(steps(kernel), [""; 0]);
    assert_eq!(host.one("udp-connect 127.0.0.3:9"), host.refusal());
}
