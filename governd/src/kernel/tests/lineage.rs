//! Who counts as the agent: by executable, and then by descent, whatever a descendant does.

use std::net::UdpSocket;

use governd_common::{
    table::Task,
    verdict::{Loss, Mode, Reason, Verdict},
};

use super::{
    host::{Host, is_root},
    image::{AGENT, Policy},
};
use crate::kernel::{KernelOptions, Lack, RawEvent};

fn udp() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[test]
fn descendants_stay_the_agent_whatever_they_do() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    let exe = host.agent_exe();
    host.kernel.install(&Policy::of_exe(exe, Mode::Enforce).image).unwrap();
    let (_server, port) = udp();
    // Each row starts in the agent; what runs the last step may be another file or an orphan.
    let rows =
        ["", "child;", "setsid;", "orphan;", "copy;", "memfd;", "copy; orphan; setsid; memfd;"];
    for row in rows {
        let script = format!("{row} udp-connect 127.0.0.1:{port}");
        assert_eq!(host.one(script.trim()), "EACCES", "{row}");
        let events = host.drain();
        let refused = events.iter().find_map(|event| match event {
            RawEvent::Flow(flow) => Some(flow.header),
            _ => None,
        });
        let refused = refused.expect("the refusal is reported");
        assert_eq!(refused.subject, AGENT, "{row}");
        let chain: Vec<(u32, u32)> = events
            .iter()
            .filter_map(|event| match event {
                RawEvent::Fork(fork) => Some((fork.header.tgid, fork.child)),
                _ => None,
            })
            .collect();
        let mut tgid = refused.tgid;
        while let Some((parent, _)) = chain.iter().find(|(_, child)| *child == tgid) {
            tgid = *parent;
        }
        assert_eq!(tgid, refused.root, "{row}: forks lead to the root");
    }
}

#[test]
fn others_are_not_the_agent() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    let (device, _) = host.agent_exe();
    // Another file beside the agent's, so that no copy can have its number.
    let other = tempfile::NamedTempFile::new().unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&other.as_file().metadata().unwrap());
    host.kernel.install(&Policy::of_exe((device, inode), Mode::Enforce).image).unwrap();
    let (_server, port) = udp();
    for row in ["", "child;", "copy;"] {
        assert_eq!(host.one(format!("{row} udp-connect 127.0.0.1:{port}").trim()), "ok", "{row}");
    }
    assert_eq!(host.flows(), []);
}

#[test]
fn an_exec_is_reported_with_path_and_arguments() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    let exe = host.agent_exe();
    host.kernel.install(&Policy::of_exe(exe, Mode::Monitor).image).unwrap();
    assert_eq!(host.one("true"), "ok");
    let events = host.drain();
    let execs: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            RawEvent::Exec(exec) if exec.header.subject == AGENT => Some(exec),
            _ => None,
        })
        .collect();
    let [agent, child] = execs.as_slice() else { panic!("two execs: {execs:?}") };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let args = text(&agent.args[..agent.args_len as usize]);
    assert!(args.contains("--exact\0kernel::tests::agent::act\0"), "{args}");
    assert_eq!((agent.device, agent.inode), exe);
    assert_eq!(agent.header.root, agent.header.tgid);
    let path = text(&child.path[..child.path_len as usize]);
    assert!(path.ends_with("/true"), "{path}");
    assert_eq!(text(&child.args[..child.args_len as usize]), "true\0");
    assert_eq!(child.parent, agent.header.tgid);
    assert_eq!(child.header.root, agent.header.tgid);
}

#[test]
fn processes_leave_the_table_when_they_end() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    let exe = host.agent_exe();
    host.kernel.install(&Policy::of_exe(exe, Mode::Monitor).image).unwrap();
    host.run("child; setsid; true");
    let events = host.drain();
    let ended = |wanted: u32| {
        events
            .iter()
            .any(|event| matches!(event, RawEvent::Exit(exit) if exit.header.tgid == wanted))
    };
    let started: Vec<u32> = events
        .iter()
        .filter_map(|event| match event {
            RawEvent::Fork(fork) => Some(fork.child),
            _ => None,
        })
        .collect();
    assert!(started.len() >= 3, "{started:?}");
    let tracked = host.kernel.tasks().unwrap();
    for tgid in started {
        assert!(ended(tgid), "{tgid}");
        assert!(tracked.iter().all(|(found, _)| *found != tgid), "{tgid}");
    }
}

#[test]
fn a_process_whose_first_thread_has_ended_is_still_the_agent() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    let exe = host.agent_exe();
    host.kernel.install(&Policy::of_exe(exe, Mode::Enforce).image).unwrap();
    let (_server, port) = udp();
    // The first thread ends by itself; the one that connects goes on.
    let step = format!("without-leader {port}");
    assert_eq!(host.one(&step), "EACCES");
}

#[test]
fn a_subject_that_the_policy_no_longer_has_is_not_registered() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    host.kernel.install(&Policy::of_cgroup(host.cgroup.id(), Mode::Enforce).image).unwrap();
    let (_server, port) = udp();
    let step = format!("udp-connect 127.0.0.1:{port}");
    assert_eq!(host.one(&step), "EACCES");
    host.kernel.install(&Policy::empty().image).unwrap();
    let orphaned = Task { subject: AGENT, root: 1, since_ns: 0 };
    host.kernel.set_task(std::process::id(), orphaned).unwrap();
    assert_eq!(host.one(&step), "ok", "a child of a process with that subject");
    host.kernel.remove_task(std::process::id()).unwrap();
    host.kernel.remove_task(std::process::id()).expect("twice is no error");
}

#[test]
fn the_child_of_a_governed_process_is_denied_when_it_cannot_be_tracked() {
    if !is_root() {
        return;
    }
    let options = KernelOptions { tasks_max: Some(1), ..KernelOptions::default() };
    let mut host = Host::with_own_exe(options);
    let exe = host.agent_exe();
    let policy = |mode| Policy::of_exe(exe, mode).subject(mode, Verdict::Allow, 0).image;
    host.kernel.install(&policy(Mode::Enforce)).unwrap();
    let (_server, port) = udp();
    let step = format!("copy; udp-connect 127.0.0.1:{port}");
    assert_eq!(host.one(&step), "EACCES", "the policy allows it, but who it is was lost");
    assert!(host.lost(Loss::Tasks) > 0);
    let flows = host.flows();
    assert_eq!(flows[0].reason, Reason::Fault as u8);
    assert_eq!(host.one(&format!("copy; child; udp-connect 127.0.0.1:{port}")), "EACCES");
    assert_eq!(host.one(&format!("udp-connect 127.0.0.1:{port}")), "ok", "room for the first");
    host.kernel.install(&policy(Mode::Monitor)).unwrap();
    assert_eq!(host.one(&step), "ok");
    let flows = host.flows();
    let last = flows.last().unwrap();
    assert_eq!((last.verdict, last.mode), (Verdict::Deny as u8, Mode::Monitor as u8));
}

#[test]
fn a_process_whose_memory_the_agent_writes_is_the_agent_s() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    if host.kernel.lacks().contains(&Lack::MemoryLocks) {
        return;
    }
    let exe = host.agent_exe();
    host.kernel.install(&Policy::of_exe(exe, Mode::Monitor).image).unwrap();
    let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let pid = other.id();
    let subject = |host: &Host| {
        let tasks = host.kernel.tasks().unwrap();
        tasks.iter().find(|(tgid, _)| *tgid == pid).map(|(_, task)| task.subject)
    };
    assert_eq!(host.one(&format!("read-memory {pid}")), "ok");
    assert_eq!(subject(&host), None);
    host.drain();
    assert_eq!(host.run(&format!("write-memory {pid}; write-memory {pid}")), ["ok", "ok"]);
    assert_eq!(subject(&host), Some(AGENT));
    let told: Vec<_> = host
        .drain()
        .iter()
        .filter_map(|event| match event {
            RawEvent::Influence(event) => Some((event.header.subject, event.target)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(AGENT, pid)]);
    other.kill().unwrap();
    other.wait().unwrap();
}
