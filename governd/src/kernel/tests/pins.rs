//! What outlives the daemon.

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use governd_common::{
    names::{map, program},
    verdict::{Loss, Mode, Verdict},
};

use super::{
    agent,
    host::{TestCgroup, is_root},
    image::Policy,
};
use crate::{
    kernel::{Early, Harm, Kernel, KernelError, KernelOptions, Offer, Pins, RawEvent, Tampering},
    policy::ids::Ids,
};

/// A place for pins, which goes with what is pinned there.
pub(super) struct Root(pub(super) PathBuf);

impl Root {
    pub(super) fn new(name: &str) -> Self {
        let name = format!("governd-test-{}-{name}", std::process::id());
        Self(Path::new("/sys/fs/bpf").join(name))
    }

    /// Where the link of a program is pinned that governs a cgroup.
    pub(super) fn link(&self, cgroup: &TestCgroup, program: &str) -> PathBuf {
        let mut path = self.0.join(cgroup.id().to_string());
        path.push(fs::read_dir(&path).unwrap().next().unwrap().unwrap().file_name());
        path.join("links").join(program)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

pub(super) struct Host {
    root: Root,
    cgroup: TestCgroup,
    server: UdpSocket,
}

impl Host {
    pub(super) fn new(name: &str) -> Self {
        let server = UdpSocket::bind("127.0.0.3:0").unwrap();
        Self { root: Root::new(name), cgroup: TestCgroup::new(), server }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root.0
    }

    pub(super) fn load(&self) -> Result<Kernel, KernelError> {
        self.load_with(64 * 1_024)
    }

    /// With a ring of this size, which makes another layout.
    pub(super) fn load_with(&self, ring_bytes: u32) -> Result<Kernel, KernelError> {
        self.load_early(ring_bytes, Early::default())
    }

    pub(super) fn load_early(&self, ring_bytes: u32, early: Early) -> Result<Kernel, KernelError> {
        let pins = self.lock()?;
        let options = KernelOptions {
            cgroup: Some(self.cgroup.path.clone()),
            ring_bytes: Some(ring_bytes),
            ..KernelOptions::default()
        };
        Kernel::load(&options, &Offer::of_kernel().unwrap(), Some(pins), early)
    }

    /// A child of another test has its copy of a lock until it executes its program.
    fn lock(&self) -> Result<Pins, KernelError> {
        let end = Instant::now() + Duration::from_millis(500);
        loop {
            match Pins::lock(&self.root.0, &self.cgroup.path) {
                Err(KernelError::Governed { .. }) if Instant::now() < end => thread::yield_now(),
                locked => return locked,
            }
        }
    }

    /// The same goes for links.
    fn must_be_let_go(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.connect() != ["ok"] {
            assert!(Instant::now() < end, "what is removed enforces");
        }
    }

    /// Puts a policy in force that denies everything but an address.
    pub(super) fn enforce(&self, kernel: &mut Kernel) -> u64 {
        let policy = Policy::of_cgroup(self.cgroup.id(), Mode::Enforce).network(
            Verdict::Allow,
            "127.0.0.9",
            (0, u16::MAX),
            0,
        );
        let generation = kernel.install(&policy.image).unwrap();
        kernel.retire().unwrap();
        kernel.persist().unwrap();
        generation
    }

    fn connect(&self) -> Vec<String> {
        let step = format!("udp-connect {}", self.server.local_addr().unwrap());
        agent::run(&std::env::current_exe().unwrap(), &self.cgroup.path, &step)
    }

    /// Where a program's link is pinned.
    fn pin(&self, program: &str) -> PathBuf {
        self.root.link(&self.cgroup, program)
    }
}

#[test]
fn enforcement_goes_on_without_a_daemon_and_the_next_one_goes_on_with_it() {
    if !is_root() {
        return;
    }
    let host = Host::new("next");
    let mut kernel = host.load().unwrap();
    let mut ids = Ids::default();
    ids.subject("bot");
    ids.set("unused.example");
    kernel.keep_ids(&ids).unwrap();
    kernel.forget_sets(&ids.forget_sets(|_| false)).unwrap();
    assert_eq!(host.enforce(&mut kernel), 1);
    assert!(matches!(host.load(), Err(KernelError::Governed { .. })));
    drop(kernel);
    assert_ne!(host.connect(), ["ok"]);

    let pins = host.lock().unwrap();
    let mut kept = pins.ids().unwrap();
    assert_eq!((kept.count(), kept.subject("bot")), (1, ids.subject("bot")));
    drop(pins);
    let mut kernel = host.load().unwrap();
    assert_eq!(kernel.generation(), 1);
    assert_ne!(host.connect(), ["ok"]);
    assert_eq!(host.enforce(&mut kernel), 2);
    assert_ne!(host.connect(), ["ok"]);
    kernel.detach().unwrap();
    drop(kernel);
    host.must_be_let_go();
    assert!(!host.root.0.exists());
}

#[test]
fn what_happens_while_no_daemon_runs_is_read_by_the_next_or_counted() {
    const DENIED: u64 = 1_000;
    if !is_root() {
        return;
    }
    let host = Host::new("loss");
    let mut kernel = host.load().unwrap();
    host.enforce(&mut kernel);
    drop(kernel);
    let script = format!("repeat {DENIED} {}", host.server.local_addr().unwrap());
    let exe = std::env::current_exe().unwrap();
    let outcome = agent::run(&exe, &host.cgroup.path, &script);
    assert_eq!(outcome, [format!("refused {DENIED}")]);

    let mut kernel = host.load().unwrap();
    let mut denied = 0;
    let mut others = 0;
    let mut events = kernel.take_events().unwrap();
    let mut count = |event| match event {
        RawEvent::Flow(_) => denied += 1,
        _ => others += 1,
    };
    while events.drain(&mut count).unwrap() > 0 {}
    let lost = kernel.lost().unwrap();
    let lost = lost.iter().find(|(loss, _)| *loss == Loss::Ring).unwrap().1;
    assert!(denied > 0 && lost > 0, "{denied} read, {lost} lost");
    assert!(denied + lost >= DENIED, "{denied} read, {lost} lost");
    // Its start, fork, exec and end are events, too, and may be among what is lost.
    assert!(denied + lost <= DENIED + 10, "{denied} read, {lost} lost, {others} others");
    assert_eq!(kernel.recorded().unwrap(), [], "nobody has recorded it yet");
    kernel.detach().unwrap();
}

#[test]
fn another_layout_takes_the_place_of_the_one_in_force() {
    if !is_root() {
        return;
    }
    let host = Host::new("layout");
    let mut kernel = host.load().unwrap();
    host.enforce(&mut kernel);
    drop(kernel);
    let mut kernel = host.load_with(128 * 1_024).unwrap();
    // The new programs have no policy yet: the old ones deny.
    assert_ne!(host.connect(), ["ok"]);
    assert_eq!(host.enforce(&mut kernel), 2);
    assert_ne!(host.connect(), ["ok"]);
    let layouts = fs::read_dir(host.root.0.join(host.cgroup.id().to_string())).unwrap();
    assert_eq!(layouts.count(), 1);
    kernel.detach().unwrap();
    drop(kernel);
    host.must_be_let_go();
}

#[test]
fn what_somebody_takes_away_is_put_back_and_said() {
    if !is_root() {
        return;
    }
    let host = Host::new("taken");
    let mut kernel = host.load().unwrap();
    host.enforce(&mut kernel);
    assert_eq!(kernel.mend().unwrap(), []);
    let path = host.pin(program::CONNECT4);
    let detached = Command::new("bpftool").args(["link", "detach", "pinned"]).arg(&path).output();
    assert!(detached.unwrap().status.success());
    fs::remove_file(host.pin(program::SENDMSG4)).unwrap();
    let tampering = |program, harm| Tampering { program, harm, is_mended: true };
    let expected = [
        tampering(program::SENDMSG4, Harm::Unpinned),
        tampering(program::CONNECT4, Harm::Detached),
    ];
    assert_eq!(kernel.mend().unwrap(), expected);
    assert_eq!(kernel.mend().unwrap(), []);
    assert_ne!(host.connect(), ["ok"]);
    // All pins, of tables as of links, and the directories.
    fs::remove_dir_all(&host.root.0).unwrap();
    let found = kernel.mend().unwrap();
    assert!(found.iter().all(|found| found.is_mended), "{found:?}");
    for (name, harm) in [(program::CONNECT4, Harm::Unpinned), (map::TASKS, Harm::TableUnpinned)] {
        assert!(found.contains(&tampering(name, harm)), "{name}: {found:?}");
    }
    assert_eq!(kernel.mend().unwrap(), []);
    assert!(Pins::lock(&host.root.0, &host.cgroup.path).is_err(), "two daemons at once");
    // A table that cannot be pinned at once is later.
    let links = host.pin(program::CONNECT4);
    let table = links.parent().unwrap().with_file_name("maps").join(map::TASKS);
    fs::remove_file(&table).unwrap();
    std::os::unix::fs::symlink("nowhere", &table).unwrap();
    let of_table =
        |is_mended| Tampering { is_mended, ..tampering(map::TASKS, Harm::TableUnpinned) };
    assert_eq!(kernel.mend().unwrap(), [of_table(false)]);
    assert_eq!(kernel.mend().unwrap(), []);
    fs::remove_file(&table).unwrap();
    assert_eq!(kernel.mend().unwrap(), [of_table(true)]);
    assert_eq!(kernel.mend().unwrap(), []);
    drop(kernel);
    assert_ne!(host.connect(), ["ok"]);
    let mut kernel = host.load().unwrap();
    kernel.detach().unwrap();
}
