//! Whether it is found out that what is denied passes.

use std::{fs, process::Command};

use governd_common::{
    names::program,
    verdict::{Mode, Verdict},
};

use super::{
    host::{TestCgroup, is_root},
    image::{AGENT, Policy},
    pins::Root,
};
use crate::kernel::{Early, Kernel, KernelOptions, Offer, Pins};

#[test]
fn each_program_is_missed_that_refuses_nothing() {
    if !is_root() {
        return;
    }
    let (root, cgroup) = (Root::new("canary"), TestCgroup::new());
    let options = KernelOptions {
        cgroup: Some(cgroup.path.clone()),
        ring_bytes: Some(64 * 1_024),
        ..KernelOptions::default()
    };
    let pins = Pins::lock(&root.0, &cgroup.path).unwrap();
    let mut kernel =
        Kernel::load(&options, &Offer::of_kernel().unwrap(), Some(pins), Early::default()).unwrap();
    kernel.install(&Policy::of_cgroup(cgroup.id(), Mode::Monitor).image).unwrap();
    kernel.persist().unwrap();
    let nothing: [String; 0] = [];
    assert_eq!(kernel.unrefused().unwrap(), nothing);
    for name in [
        program::CONNECT4,
        program::CONNECT6,
        program::SENDMSG4,
        program::SENDMSG6,
        program::SKB_EGRESS,
    ] {
        let link = root.link(&cgroup, name);
        let detached =
            Command::new("bpftool").args(["link", "detach", "pinned"]).arg(&link).status();
        assert!(detached.unwrap().success());
        let expected = [format!("{name} lets pass what is denied")];
        assert_eq!(kernel.unrefused().unwrap(), expected);
        assert_eq!(kernel.unrefused().unwrap(), expected, "again");
        assert_eq!(kernel.mend().unwrap().len(), 1);
        assert_eq!(kernel.unrefused().unwrap(), nothing, "{name} is back");
    }
    // What a subject may reach, and what not, is told of the tables that the kernel has.
    let may = |kernel: &mut Kernel, to: &str| kernel.lets_pass(AGENT, to.parse().unwrap()).unwrap();
    let policy = Policy::of_cgroup(cgroup.id(), Mode::Enforce);
    let policy = policy.network(Verdict::Allow, "10.1.0.0/16", (443, 443), 6);
    kernel.install(&policy.image).unwrap();
    for _ in 0..2 {
        assert!(may(&mut kernel, "10.1.2.3:443"));
        assert!(!may(&mut kernel, "10.1.2.3:444"));
        assert!(!may(&mut kernel, "192.0.2.1:443"));
    }
    let link = root.link(&cgroup, program::CONNECT4);
    let detached = Command::new("bpftool").args(["link", "detach", "pinned"]).arg(&link).status();
    assert!(detached.unwrap().success());
    assert!(may(&mut kernel, "192.0.2.1:443"));
    kernel.mend().unwrap();
    kernel.install(&Policy::empty().image).unwrap();
    assert_eq!(kernel.unrefused().unwrap(), nothing, "after a swap");
    // The name of the cgroup can become another one's, which nobody governs.
    fs::remove_dir(&cgroup.path).unwrap();
    fs::create_dir(&cgroup.path).unwrap();
    let found = kernel.unrefused().unwrap();
    assert!(found.iter().any(|line| line.contains("was removed")), "{found:?}");
    kernel.detach().unwrap();
}
