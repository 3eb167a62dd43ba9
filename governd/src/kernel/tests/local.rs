//! What is on this host and would send in the agent's place.

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::symlink,
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
    process::Command,
};

use governd_common::{
    event::{Hook, PathEvent},
    table::subject_flag,
    verdict::{Mode, Reason, Verdict},
};
use tempfile::TempDir;

use super::{
    host::{EPERM, Host, is_root},
    image::{AGENT, Policy},
};
use crate::{
    kernel::{KernelOptions, Lack, RawEvent},
    policy::image::LocalSocket,
};

/// The decisions about something local that are waiting.
fn paths(host: &mut Host) -> Vec<PathEvent> {
    let events = host.drain().into_iter();
    events
        .filter_map(|event| if let RawEvent::Path(path) = event { Some(path) } else { None })
        .collect()
}

#[test]
fn devices_that_are_network_interfaces_are_refused() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    let exe = host.agent_exe();
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    // Whether the kernel has a driver behind it shows only after the refusal.
    let rows = [(10, 200, true), (10, 238, true), (10, 241, true), (108, 0, true), (1, 3, false)];
    for (mode, flags) in
        [(Mode::Enforce, 0), (Mode::Monitor, 0), (Mode::Enforce, subject_flag::RAW_SOCKETS)]
    {
        let policy = Policy::of_exe(exe, mode).subject(mode, Verdict::Deny, flags);
        host.kernel.install(&policy.image).unwrap();
        for (major, minor, is_interface) in rows {
            host.drain();
            let name = at(&format!("{}-{flags}-{major}-{minor}", mode as u8));
            let made = host.one(&format!("mknod {name} {major} {minor}"));
            let is_refused = is_interface && mode == Mode::Enforce && flags == 0;
            // The tests' host writes the kernel's own error as it writes the chosen one.
            let refused = [EPERM, "EACCES"];
            assert_eq!(refused.contains(&made.as_str()), is_refused, "{name}: {made}");
            let made = at("made");
            let mut mknod = Command::new("mknod");
            mknod.args([&made, "c", &major.to_string(), &minor.to_string()]);
            assert!(mknod.status().unwrap().success());
            let opened = host.one(&format!("open {made}"));
            fs::remove_file(&made).unwrap();
            assert_eq!(refused.contains(&opened.as_str()), is_refused, "{name}: {opened}");
            let seen = paths(&mut host);
            let count = if is_interface && flags == 0 { 2 } else { 0 };
            assert_eq!(seen.len(), count, "{name}: {seen:?}");
            for event in seen {
                assert_eq!(
                    (event.header.hook, event.device),
                    (Hook::Device as u16, major << 20 | minor)
                );
                assert_eq!((event.reason, event.mode), (Reason::Device as u8, mode as u8));
                assert_eq!((event.header.subject, event.verdict), (AGENT, Verdict::Deny as u8));
                assert_ne!(event.header.tgid, 0);
            }
        }
    }
}

#[test]
fn local_sockets_are_reached_by_the_addresses_on_the_list_alone() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    if host.kernel.lacks().contains(&Lack::LocalSockets) {
        eprintln!("skipped: no program sees local sockets on this kernel");
        return;
    }
    let exe = host.agent_exe();
    let directory = TempDir::new().unwrap();
    let root = directory.path().display().to_string();
    let at = |name: &str| format!("{root}/{name}");
    fs::create_dir(at("own")).unwrap();
    let streams =
        ["listed", "listed-not", "own/helper"].map(|name| UnixListener::bind(at(name)).unwrap());
    let datagram = UnixDatagram::bind(at("datagram")).unwrap();
    symlink(at("listed-not"), at("link")).unwrap();
    let name = format!("governd-test-{}", std::process::id());
    let abstracts = [name.clone(), format!("{name}-not")].map(|name| {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        UnixListener::bind_addr(&address).unwrap()
    });
    let image = |mode, flags| {
        let mut image = Policy::of_exe(exe, mode).subject(mode, Verdict::Deny, flags).image;
        let sockets = [
            LocalSocket::Path(at("listed").into()),
            LocalSocket::Path(at("datagram").into()),
            LocalSocket::Beginning(at("own/").into()),
            LocalSocket::Abstract(name.as_str().into()),
        ];
        image.local_sockets = sockets.map(|socket| (AGENT, socket)).to_vec();
        // Another subject's list is its own.
        image.local_sockets.push((AGENT + 1, LocalSocket::Path(at("listed-not").into())));
        image
    };
    let rows = [
        ("connect", at("listed"), true),
        ("connect", at("listed-not"), false),
        ("connect", at("own/helper"), true),
        ("connect", at("own/../listed-not"), false),
        ("connect", at("./listed"), false),
        ("connect", "listed".to_owned(), false),
        ("connect", at("link"), false),
        ("connect", format!("@{name}"), true),
        ("connect", format!("@{name}-not"), false),
        ("datagram", at("datagram"), true),
        ("sendto", at("datagram"), true),
    ];
    for (mode, flags) in
        [(Mode::Enforce, 0), (Mode::Monitor, 0), (Mode::Enforce, subject_flag::LOCAL_SOCKETS)]
    {
        host.kernel.install(&image(mode, flags)).unwrap();
        for (how, path, is_listed) in &rows {
            host.drain();
            let outcome = host.one(&format!("unix {how} {path} {root}"));
            let is_reported = !is_listed && flags == 0;
            let is_refused = is_reported && mode == Mode::Enforce;
            assert_eq!(outcome, if is_refused { "EACCES" } else { "ok" }, "{how} {path}");
            let seen = paths(&mut host);
            assert_eq!(seen.len(), usize::from(is_reported), "{how} {path}");
            for event in seen {
                assert_eq!((event.header.hook, event.header.subject), (Hook::Unix as u16, AGENT));
                assert_eq!((event.reason, event.mode), (Reason::UnixSocket as u8, mode as u8));
                let text = &event.path[..event.path_len as usize];
                let text = text.strip_suffix(b"\0").unwrap_or(text);
                assert_eq!(text, path.replace('@', "\0").as_bytes());
            }
        }
    }
    let mut closed = image(Mode::Enforce, 0);
    closed.local_sockets.clear();
    host.kernel.install(&closed).unwrap();
    for (how, path, _) in &rows {
        assert_eq!(host.one(&format!("unix {how} {path} {root}")), "EACCES", "{how} {path}");
    }
    drop((streams, datagram, abstracts));
}
