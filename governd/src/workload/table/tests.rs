use std::{fs, process::Command};

use governd_common::event::{EventKind, ExecEvent};
use zerocopy::FromZeros as _;

use super::{super::redact, *};

/// A host of fixture files: /proc, a cgroup tree and a passwd file.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("cgroup/a.service")).unwrap();
        fs::create_dir_all(dir.path().join("proc")).unwrap();
        fs::write(dir.path().join("passwd"), "root:x:0:0\nsvc:x:1001:1001\n").unwrap();
        Self { dir }
    }

    fn table(&self) -> ProcessTable {
        ProcessTable::new(
            ProcFs::new(&self.dir.path().join("proc")),
            CgroupTree::new(&self.dir.path().join("cgroup")),
            &self.dir.path().join("passwd"),
        )
    }

    fn process(&self, pid: u32, parent: u32, name: &str, ticks: u64) {
        let dir = self.dir.path().join(format!("proc/{pid}"));
        fs::create_dir_all(&dir).unwrap();
        let stat = format!(
            "{pid} ({name}) S {parent} 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {ticks} 9 9"
        );
        fs::write(dir.join("stat"), stat).unwrap();
        fs::write(dir.join("status"), "Uid:\t1001\t1001\nGid:\t1001\t1001\n").unwrap();
        fs::write(dir.join("cmdline"), format!("{name}\0--token\0abc\0")).unwrap();
        fs::write(dir.join("cgroup"), "0::/a.service\n").unwrap();
        let exe = self.dir.path().join(name);
        fs::write(&exe, "").unwrap();
        if !dir.join("exe").exists() {
            std::os::unix::fs::symlink(&exe, dir.join("exe")).unwrap();
        }
    }

    fn end(&self, pid: u32) {
        fs::remove_dir_all(self.dir.path().join(format!("proc/{pid}"))).unwrap();
    }

    fn cgroup(&self) -> u64 {
        CgroupTree::new(&self.dir.path().join("cgroup")).id("/a.service").unwrap()
    }
}

fn header(kind: EventKind, tgid: u32, time_ns: u64, cgroup: u64) -> EventHeader {
    let mut comm = [0; 16];
    comm[..5].copy_from_slice(b"comm1");
    EventHeader {
        kind: kind as u16,
        hook: 0,
        tgid,
        time_ns,
        generation: 1,
        cgroup,
        uid: 1001,
        gid: 1001,
        subject: 0,
        root: 0,
        comm,
    }
}

fn exec(tgid: u32, parent: u32, time_ns: u64, path: &str, args: &[u8], cgroup: u64) -> ExecEvent {
    let mut event = ExecEvent::new_zeroed();
    event.header = header(EventKind::Exec, tgid, time_ns, cgroup);
    event.parent = parent;
    (event.device, event.inode) = (7, 1234);
    event.path[..path.len()].copy_from_slice(path.as_bytes());
    event.path_len = path.len() as u32;
    event.args[..args.len()].copy_from_slice(args);
    event.args_len = args.len() as u32;
    event
}

fn names(known: &Known) -> Vec<String> {
    known.lineage.iter().map(|ancestor| format!("{} {}", ancestor.pid, ancestor.name)).collect()
}

const TICK: u64 = TICK_NS;

#[test]
fn a_sweep_knows_processes_and_their_ancestors() {
    let fixture = Fixture::new();
    // The parent sorts after its child here: same tick, larger pid.
    fixture.process(1, 0, "init", 1);
    fixture.process(90, 1, "shell", 50);
    fixture.process(80, 90, "agent", 50);
    fixture.process(70, 70, "itself", 60);
    let mut table = fixture.table();
    assert_eq!(table.sweep().len(), 4);
    let known = table.process(80).unwrap();
    assert_eq!(names(&known), ["90 shell", "1 init"]);
    let process = &known.process;
    assert_eq!(process.started_ns, 50 * TICK);
    assert_eq!(process.user.as_deref(), Some("svc"));
    assert_eq!(process.cgroup.as_deref(), Some("/a.service"));
    assert_eq!(process.cgroup_id, Some(fixture.cgroup()));
    assert_eq!(process.args.as_deref().unwrap()[2], redact::REDACTED);
    assert_eq!(process.exe.as_ref().unwrap().path, fixture.dir.path().join("agent"));
    assert!(table.process(4242).is_none());
}

#[test]
fn a_process_that_is_gone_is_attributed_by_its_exec_event() {
    let fixture = Fixture::new();
    fixture.process(1, 0, "init", 1);
    fixture.process(90, 1, "shell", 50);
    let mut table = fixture.table();
    let event = exec(91, 90, 600 * TICK, "/opt/tool", b"tool\0--key=x\0", fixture.cgroup());
    let known = table.exec(&event);
    assert_eq!(names(&known), ["90 shell", "1 init"]);
    let process = &known.process;
    let exe = process.exe.as_ref().unwrap();
    assert_eq!((exe.path.to_str(), exe.device, exe.inode), (Some("/opt/tool"), 7, 1234));
    assert_eq!(process.args.as_deref().unwrap()[0], "tool");
    assert_eq!((process.name.as_str(), process.parent), ("comm1", Some(90)));
    assert_eq!(process.cgroup.as_deref(), Some("/a.service"));
    // Its connection comes after it, when both it and its parent are gone.
    fixture.end(90);
    let flow = header(EventKind::Flow, 91, 601 * TICK, fixture.cgroup());
    assert_eq!(table.attribute(&flow), known);
}

#[test]
fn an_exec_takes_nothing_from_another_process_with_its_pid() {
    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let fixture = Fixture::new();
    let long = [b'a'; 1_024];
    for (ticks, is_own) in [(50, true), (900, false)] {
        fixture.process(1, 0, "init", 1);
        fixture.process(91, 1, "tool", ticks);
        let write = |name: &str, bytes: &[u8]| {
            fs::write(fixture.dir.path().join(format!("proc/91/{name}")), bytes).unwrap();
        };
        write("cgroup", format!("1:name=systemd:/docker/{ID}\n0::/a.service\n").as_bytes());
        write("loginuid", b"1000");
        write("cmdline", &[&long[..], b"\0--end\0"].concat());
        write("environ", b"TRACEPARENT=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        fs::write(fixture.dir.path().join("proc/1/cgroup"), "1:name=systemd:/\n0::/\n").unwrap();
        let mut table = fixture.table();
        let mut event = exec(91, 1, 600 * TICK, "/opt/tool", &long, fixture.cgroup());
        let file = fs::metadata(fixture.dir.path().join("tool")).unwrap();
        event.inode = std::os::unix::fs::MetadataExt::ino(&file);
        event.header.subject = 7;
        let process = table.exec(&event).process;
        assert_eq!(process.exe.as_ref().unwrap().path != Path::new("/opt/tool"), is_own);
        assert_eq!(process.args.as_ref().unwrap().last().unwrap() == "--end", is_own);
        let container = process.workload.as_ref().and_then(|workload| workload.container.as_ref());
        let login = process.login.uid;
        let known = [container.is_some(), login.is_some(), process.digest.is_some()];
        assert_eq!((known, process.session.is_some()), ([is_own; 3], is_own));
        assert_eq!(process.trace.is_some(), is_own);
    }
}

#[test]
fn processes_that_execute_one_file_share_its_digest() {
    let fixture = Fixture::new();
    fixture.process(1, 0, "init", 1);
    fixture.process(90, 1, "agent", 50);
    let digests = Digests::start(ProcFs::new(&fixture.dir.path().join("proc"))).unwrap();
    let mut table = fixture.table().with_digests(digests);
    table.sweep();
    let swept = table.process(90).unwrap().process;
    assert_eq!((swept.session, swept.sha256()), (Some(1), None));
    let mut event = exec(90, 1, 600 * TICK, "/x", b"agent\0", fixture.cgroup());
    event.inode = swept.exe.as_ref().unwrap().inode;
    event.header.subject = 7;
    let ran = table.exec(&event).process;
    let digest = swept.digest.as_ref().unwrap();
    assert!(Arc::ptr_eq(digest, ran.digest.as_ref().unwrap()));
    let started = std::time::Instant::now();
    while !digest.is_settled() {
        assert!(started.elapsed().as_secs() < 10);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    // Of an empty file.
    assert!(ran.sha256().unwrap().starts_with("e3b0c442"));
}

#[test]
fn the_digest_of_what_is_gone_is_of_a_file_that_has_not_changed_since() {
    let real = ProcFs::new(Path::new("/proc"));
    let mut table = ProcessTable::new(real, CgroupTree::new(Path::new("/x")), Path::new("/x"));
    let path = Path::new("/bin/true").canonicalize().unwrap();
    let (exe, _) = table.proc.exe(std::process::id(), &table.mounts).unwrap();
    let dir = exe.path.parent().unwrap();
    let new = dir.join(format!("governd-test-{}", std::process::id()));
    fs::write(&new, "").unwrap();
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now_ns = u64::try_from(now.tv_sec).unwrap() * 1_000_000_000;
    let mut rows = Vec::new();
    for (path, time_ns, inode_differs) in
        [(&path, now_ns, 0), (&path, now_ns, 1), (&new, now_ns - 60_000_000_000, 0)]
    {
        let found = crate::workload::mounts::FileIdentity::of(path).unwrap();
        let mut event = exec(u32::MAX, 0, time_ns, path.to_str().unwrap(), b"x\0", 0);
        (event.device, event.inode) = (found.device(&table.mounts), found.inode + inode_differs);
        rows.push(table.exec(&event).process.digest.is_some());
    }
    fs::remove_file(&new).unwrap();
    assert_eq!(rows, [true, false, false]);
}

#[test]
fn a_session_that_a_process_begins_is_seen_later() {
    let fixture = Fixture::new();
    fixture.process(90, 0, "agent", 50);
    let mut table = fixture.table();
    table.sweep();
    let stat = fixture.dir.path().join("proc/90/stat");
    let text = fs::read_to_string(&stat).unwrap().replace("S 0 1 1 ", "S 0 90 90 ");
    fs::write(&stat, text).unwrap();
    let flow = header(EventKind::Flow, 90, 1_000 * TICK, fixture.cgroup());
    assert_eq!(table.attribute(&flow).process.session, Some(90));
}

#[test]
fn ancestors_are_remembered_after_they_exit_and_their_pid_is_used_again() {
    let fixture = Fixture::new();
    fixture.process(1, 0, "init", 1);
    fixture.process(90, 1, "agent", 50);
    let mut table = fixture.table();
    table.sweep();
    let child = exec(91, 90, 60 * TICK, "/bin/sh", b"sh\0", fixture.cgroup());
    table.exec(&child);
    fixture.end(90);
    fixture.process(90, 1, "cron", 900);
    let flow = header(EventKind::Flow, 90, 1_000 * TICK, fixture.cgroup());
    assert_eq!(table.attribute(&flow).process.name, "cron");
    assert_eq!(names(&table.process(91).unwrap()), ["90 agent", "1 init"]);
    let other = exec(92, 90, 1_001 * TICK, "/bin/sh", b"sh\0", fixture.cgroup());
    assert_eq!(names(&table.exec(&other)), ["90 cron", "1 init"]);
}

#[test]
fn a_fork_copies_and_an_exec_replaces() {
    let fixture = Fixture::new();
    fixture.process(90, 0, "agent", 50);
    let mut table = fixture.table();
    table.sweep();
    let mut event = ForkEvent::new_zeroed();
    event.header = header(EventKind::Fork, 90, 70 * TICK, fixture.cgroup());
    event.child = 95;
    let forked = table.fork(&event);
    assert_eq!(forked.process.exe, table.process(90).unwrap().process.exe);
    assert_eq!((forked.process.parent, forked.process.started_ns), (Some(90), 70 * TICK));
    let replaced = table.exec(&exec(95, 90, 71 * TICK, "/bin/curl", b"curl\0", fixture.cgroup()));
    assert_eq!(replaced.process.started_ns, 70 * TICK);
    assert_eq!(replaced.process.exe.as_ref().unwrap().path.to_str(), Some("/bin/curl"));
    assert_eq!(names(&replaced), ["90 agent"]);
    // The same pid with another parent is another process.
    let reused = table.exec(&exec(95, 1, 90 * TICK, "/bin/ls", b"ls\0", fixture.cgroup()));
    assert_eq!((reused.process.started_ns, names(&reused).len()), (90 * TICK, 0));
}

#[test]
fn a_stranger_is_known_by_the_event_alone() {
    let fixture = Fixture::new();
    let mut table = fixture.table();
    let known = table.attribute(&header(EventKind::Flow, 77, 5 * TICK, fixture.cgroup()));
    assert_eq!((known.process.name.as_str(), known.process.uid), ("comm1", Some(1001)));
    assert_eq!((known.process.exe.clone(), known.process.args.clone()), (None, None));
    assert_eq!(known.process.cgroup.as_deref(), Some("/a.service"));
    // A process that began after the event is another one.
    fixture.process(78, 0, "late", 900);
    let early = table.attribute(&header(EventKind::Flow, 78, 5 * TICK, 0));
    assert_eq!((early.process.name.as_str(), early.process.exe.clone()), ("comm1", None));
}

#[test]
fn a_process_may_change_its_user_and_cgroup() {
    let fixture = Fixture::new();
    fixture.process(90, 0, "agent", 50);
    let mut table = fixture.table();
    table.sweep();
    let mut moved = header(EventKind::Flow, 90, 60 * TICK, fixture.cgroup());
    moved.uid = 0;
    assert_eq!(table.attribute(&moved).process.user.as_deref(), Some("root"));
    assert_eq!(table.process(90).unwrap().process.uid, Some(0));
}

#[test]
fn an_event_that_does_not_know_the_user_changes_none() {
    let fixture = Fixture::new();
    fixture.process(90, 0, "agent", 50);
    let mut table = fixture.table();
    table.sweep();
    let before = table.process(90).unwrap().process;
    let (uid, gid) = (EventHeader::NO_ID, EventHeader::NO_ID);
    let header = |pid| EventHeader { uid, gid, ..header(EventKind::Flow, pid, 60 * TICK, 0) };
    assert_eq!(table.attribute(&header(90)).process, before);
    assert_eq!(table.now(90, 61 * TICK).process, before);
    for stranger in [table.attribute(&header(77)), table.now(78, 61 * TICK)] {
        let process = stranger.process;
        assert_eq!((process.uid, process.user.as_deref(), process.cgroup_id), (None, None, None));
    }
}

#[test]
fn unit_container_login_and_trace_are_known() {
    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let fixture = Fixture::new();
    let write = |pid: u32, name: &str, text: &str| {
        fs::write(fixture.dir.path().join(format!("proc/{pid}/{name}")), text).unwrap();
    };
    // A hybrid host: systemd's own tree has containers that the v2 tree has not.
    fixture.process(1, 0, "init", 1);
    write(1, "cgroup", "1:name=systemd:/init.scope\n0::/init.scope\n");
    fixture.process(90, 1, "agent", 50);
    write(90, "cgroup", &format!("1:name=systemd:/docker/{ID}\n0::/a.service\n"));
    write(90, "loginuid", "1000");
    write(90, "sessionid", "7");
    write(90, "environ", &format!("A=1\0TRACEPARENT=00-{TRACE}-00f067aa0ba902b7-01\0"));
    let mut table = fixture.table();
    table.sweep();
    let swept = table.process(90).unwrap().process;
    let container = swept.workload.as_ref().unwrap().container.as_ref().unwrap();
    assert_eq!((&*container.id, container.runtime.word()), (ID, "docker"));
    assert_eq!((swept.login.uid, swept.login.session), (Some(1000), Some(7)));
    let flow = header(EventKind::Flow, 90, 60 * TICK, fixture.cgroup());
    assert_eq!(table.attribute(&flow).process.trace.as_deref(), Some(TRACE));
    // A child has what its parent has until it says otherwise.
    let mut event = ForkEvent::new_zeroed();
    event.header = header(EventKind::Fork, 90, 70 * TICK, fixture.cgroup());
    event.child = 95;
    assert_eq!(table.fork(&event).process.trace.as_deref(), Some(TRACE));
    let ran = table.exec(&exec(95, 90, 71 * TICK, "/bin/curl", b"curl\0", fixture.cgroup()));
    assert_eq!((ran.process.login, ran.process.trace.clone()), (swept.login, None));
    assert_eq!(ran.process.workload.as_ref().unwrap().unit.as_deref(), Some("a.service"));
    let other = table.exec(&exec(96, 90, 72 * TICK, "/bin/curl", b"curl\0", fixture.cgroup()));
    assert!(Arc::ptr_eq(
        other.process.workload.as_ref().unwrap(),
        ran.process.workload.as_ref().unwrap()
    ));
}

#[test]
fn memory_is_bounded_and_the_oldest_goes_first() {
    let fixture = Fixture::new();
    let mut table = fixture.table();
    for pid in 2..(TABLE_PROCESSES_MAX as u32 + 100) {
        table.exec(&exec(pid, 0, u64::from(pid), "/bin/true", b"true\0", fixture.cgroup()));
    }
    assert!(table.len() <= TABLE_PROCESSES_MAX);
    assert!(table.process(2).is_none());
    assert!(table.process(TABLE_PROCESSES_MAX as u32 + 99).is_some());
}

#[test]
fn lineage_is_bounded() {
    let fixture = Fixture::new();
    let mut table = fixture.table();
    for pid in 2..200 {
        table.exec(&exec(pid, pid - 1, u64::from(pid), "/bin/sh", b"sh\0", fixture.cgroup()));
    }
    assert_eq!(table.process(199).unwrap().lineage.len(), LINEAGE_MAX);
}

#[test]
fn this_host_is_swept() {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = crate::workload::cgroup::mount_point(&mountinfo).unwrap_or_default();
    let proc = ProcFs::new(Path::new("/proc"));
    let mut table = ProcessTable::new(proc, CgroupTree::new(&mount), Path::new("/etc/passwd"));
    let mut child = Command::new("sleep").arg("30").spawn().unwrap();
    let swept = table.sweep();
    let known = swept.iter().find(|known| known.process.pid == child.id()).cloned();
    child.kill().unwrap();
    child.wait().unwrap();
    let known = known.unwrap();
    assert_eq!(known.process.args.as_deref().unwrap(), ["sleep", "30"]);
    assert_eq!(known.lineage[0].pid, std::process::id());
    let exe = known.process.exe.as_ref().unwrap();
    let paths = crate::workload::host::HostPaths::of_machine(
        mount,
        crate::workload::host::HOST_FILE.as_ref(),
    );
    let facts = crate::workload::host::HostFacts::read(&paths);
    let asked = crate::policy::host::Host::executable(&facts, &exe.path);
    assert_eq!(asked, Some((exe.device, exe.inode)));
}
