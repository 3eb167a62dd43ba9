//! The host of a test: a cgroup of its own, with programs attached to it.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use governd_common::{event::FlowEvent, layout::KernelLayout, table::settings_flag, verdict::Loss};
use tempfile::TempDir;

use super::{agent, image::Policy};
use crate::kernel::{Early, Events, Kernel, KernelOptions, Lack, Offer, RawEvent, cgroup, layout};

const PREFIX: &str = "governd-test-";
/// What a send gives whose packet is dropped on its way out.
pub(super) const EPERM: &str = "errno 1";
const EACCES: &str = "EACCES";

/// True as root. Otherwise the test is skipped visibly, and fails in CI.
pub(super) fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(env::var("CI").is_err(), "these tests need root, and CI must run them");
    eprintln!("skipped: needs root");
    false
}

/// This kernel, and it as if it had no helper that repeats: programs have two ways to.
pub(super) fn with_and_without_loops() -> Vec<KernelLayout> {
    let own = layout::of_kernel().unwrap();
    let mut layouts = vec![own, KernelLayout { has_loops: 0, ..own }];
    layouts.dedup();
    layouts
}

/// A cgroup that goes with its processes when the test ends, also when it fails.
#[derive(Debug)]
pub(super) struct TestCgroup {
    pub(super) path: PathBuf,
}

impl TestCgroup {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static STALE: Once = Once::new();
        let root = cgroup::root().unwrap();
        STALE.call_once(|| remove_stale(&root));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self { path }
    }

    /// The kernel's id of the cgroup: its inode.
    pub(super) fn id(&self) -> u64 {
        std::os::unix::fs::MetadataExt::ino(&fs::metadata(&self.path).unwrap())
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes cgroups of test processes that were killed.
fn remove_stale(root: &Path) {
    for entry in fs::read_dir(root).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&entry.path());
        }
    }
}

/// Ends the processes of a cgroup and of those below, and removes them.
fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        // Since Linux 5.14; before, the processes end by themselves.
        fs::write(path.join("cgroup.kill"), "1").ok();
        if fs::remove_dir(path).is_ok() || !path.exists() || Instant::now() > end {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Programs attached to a cgroup, and processes that run in it.
pub(super) struct Host {
    // Detached before the cgroup goes.
    pub(super) kernel: Kernel,
    pub(super) events: Events,
    pub(super) cgroup: TestCgroup,
    exe: Option<TempDir>,
}

impl Host {
    pub(super) fn new(options: KernelOptions) -> Self {
        Self::of(TestCgroup::new(), options)
    }

    /// In a cgroup that has processes already.
    pub(super) fn of(cgroup: TestCgroup, options: KernelOptions) -> Self {
        Self::on(cgroup, options, layout::of_kernel().unwrap())
    }

    /// On a kernel with this layout.
    pub(super) fn on(cgroup: TestCgroup, options: KernelOptions, layout: KernelLayout) -> Self {
        Self::with(cgroup, options, &Offer { layout, ..Offer::of_kernel().unwrap() })
    }

    /// On a kernel that offers this.
    pub(super) fn with(cgroup: TestCgroup, options: KernelOptions, offer: &Offer) -> Self {
        let options = KernelOptions { cgroup: Some(cgroup.path.clone()), ..options };
        let mut kernel = Kernel::load(&options, offer, None, Early::default()).unwrap();
        let events = kernel.take_events().unwrap();
        Self { kernel, events, cgroup, exe: None }
    }

    /// With an executable that no other test runs, for policies that go by it.
    pub(super) fn with_own_exe(options: KernelOptions) -> Self {
        let directory = TempDir::new().unwrap();
        fs::copy(env::current_exe().unwrap(), directory.path().join("agent")).unwrap();
        Self { exe: Some(directory), ..Self::new(options) }
    }

    /// The executable of the agents.
    pub(super) fn exe(&self) -> PathBuf {
        let own = self.exe.as_ref().map(|exe| exe.path().join("agent"));
        own.unwrap_or_else(|| env::current_exe().unwrap())
    }

    /// The executable of the agents, as the kernel knows it.
    pub(super) fn agent_exe(&mut self) -> (u32, u64) {
        let mut everything = Policy::empty();
        everything.image.flags |= settings_flag::REPORT_ALL_EXECS;
        self.kernel.install(&everything.image).unwrap();
        self.run("child");
        let is_agent = |path: &[u8]| path.ends_with(b"/agent");
        let cgroup = self.cgroup.id();
        self.drain()
            .into_iter()
            .find_map(|event| match event {
                RawEvent::Exec(exec)
                    if exec.header.cgroup == cgroup
                        && is_agent(&exec.path[..exec.path_len as usize]) =>
                {
                    Some((exec.device, exec.inode))
                }
                _ => None,
            })
            .expect("the agent's exec is reported")
    }

    /// Runs a script (see [`agent`]) in the cgroup and returns its lines.
    pub(super) fn run(&self, script: &str) -> Vec<String> {
        let mut outcomes = agent::run(&self.exe(), &self.cgroup.path, script);
        if self.kernel.lacks().contains(&Lack::RefusalErrno) {
            // There, every refusal has the kernel's own error.
            outcomes
                .iter_mut()
                .filter(|line| *line == EPERM)
                .for_each(|line| *line = EACCES.into());
        }
        outcomes
    }

    /// What a refused step gives, where [`Host::run`] has not translated it.
    pub(super) fn refusal(&self) -> &'static str {
        if self.kernel.lacks().contains(&Lack::RefusalErrno) { EPERM } else { EACCES }
    }

    /// Runs one step and returns its outcome.
    pub(super) fn one(&self, step: &str) -> String {
        let lines = self.run(step);
        let [line] = lines.as_slice() else { panic!("one line for {step:?}: {lines:?}") };
        line.clone()
    }

    /// The events that are waiting.
    pub(super) fn drain(&mut self) -> Vec<RawEvent> {
        let mut events = Vec::new();
        while self.events.drain(|event| events.push(event)).unwrap() > 0 {}
        assert_eq!(self.events.malformed(), 0);
        events
    }

    /// The decisions that are waiting.
    pub(super) fn flows(&mut self) -> Vec<FlowEvent> {
        self.drain()
            .into_iter()
            .filter_map(|event| match event {
                RawEvent::Flow(flow) => Some(flow),
                _ => None,
            })
            .collect()
    }

    pub(super) fn lost(&self, loss: Loss) -> u64 {
        self.kernel.lost().unwrap().iter().find(|(found, _)| *found == loss).unwrap().1
    }
}

/// Waits until a file is there.
pub(super) fn wait_for(path: &Path) {
    let end = Instant::now() + Duration::from_secs(20);
    while !path.exists() {
        assert!(Instant::now() < end, "no {}", path.display());
        thread::sleep(Duration::from_millis(2));
    }
}

/// A destination as event and script write it.
pub(super) fn destination(event: &FlowEvent) -> SocketAddr {
    SocketAddr::new(event.address.into(), event.port)
}
