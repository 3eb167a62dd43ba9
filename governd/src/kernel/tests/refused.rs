//! Calls that are refused: each with the filter, and without.
//!
//! Here because it makes system calls by number. The threads that it confines end with it.

use std::{collections::BTreeMap, io, thread};

use libc::c_long;

use crate::confine::{self, DAEMON, REFUSED, When};

/// What refuses all that makes sense: no call takes these.
const NONSENSE: c_long = -1;
const ARGUMENTS: usize = 6;

/// Makes the call; gives the number of its error, or 0.
fn call(number: c_long, arguments: [c_long; ARGUMENTS]) -> i32 {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the rows' arguments are no pointers that the kernel takes, or address nothing.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
}

/// Arguments by which the call is refused, and does nothing where it is not.
fn refused_by(when: When) -> Option<[c_long; ARGUMENTS]> {
    let mut arguments = [NONSENSE; ARGUMENTS];
    let (at, value) = match when {
        // Nonsense has all bits, and is no value of a list.
        When::Always | When::Has(..) | When::HasAll(..) | When::IsNot(..) | When::IsOther(_) => {
            return Some(arguments);
        }
        When::Is(at, value) => (at, value),
        // Without the filter it would be a new process.
        When::Lacks(..) => return None,
    };
    *arguments.get_mut(usize::from(at))? = c_long::from(value);
    Some(arguments)
}

/// Calls that make a process, whatever their arguments.
const FORKS: [&str; 2] = ["fork", "vfork"];

fn outcomes() -> BTreeMap<(&'static str, usize), i32> {
    let mut outcomes = BTreeMap::new();
    for (group, refused) in REFUSED.iter().enumerate() {
        for (name, number, when) in refused.calls {
            let Some(arguments) = refused_by(*when).filter(|_| !FORKS.contains(name)) else {
                continue;
            };
            outcomes.insert((*name, group), call(*number, arguments));
        }
    }
    outcomes
}

fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var("CI").is_err(), "these tests need root, and CI must run them");
    eprintln!("skipped: needs root");
    false
}

/// In a thread that has given up what the daemon gives up, and before that all but the filter.
fn confined<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(|| {
        confine::confine(DAEMON, None).unwrap();
        confine::refuse_calls().unwrap();
        work()
    });
    thread.join().unwrap()
}

#[test]
fn every_call_is_refused_and_none_only_by_capabilities() {
    if !is_root() {
        return;
    }
    let without = thread::spawn(|| {
        confine::keep(DAEMON).unwrap();
        outcomes()
    });
    let without = without.join().unwrap();
    let with = confined(outcomes);
    assert!(with.len() > 40, "{with:?}");
    for (row, error) in &with {
        assert_eq!(*error, libc::EPERM, "{row:?} is not refused");
        assert_ne!(without.get(row), Some(&libc::EPERM), "{row:?} is redundant");
    }
}

#[test]
fn what_has_no_harmless_arguments_is_refused_too() {
    if !is_root() {
        return;
    }
    let started = confined(|| {
        let forked = ["fork", "vfork"].map(|name| {
            let calls = REFUSED.iter().flat_map(|group| group.calls);
            calls
                .clone()
                .find(|(known, ..)| *known == name)
                .map_or(libc::EPERM, |call_| call(call_.1, [0; ARGUMENTS]))
        });
        let cloned = call(libc::SYS_clone, [c_long::from(libc::SIGCHLD), 0, 0, 0, 0, 0]);
        let program = std::process::Command::new("true").status().unwrap_err().kind();
        (forked, cloned, program)
    });
    let (forked, cloned, program) = started;
    assert_eq!((forked, cloned), ([libc::EPERM; 2], libc::EPERM));
    assert_eq!(program, io::ErrorKind::PermissionDenied);
}

#[test]
fn what_the_daemon_does_passes_and_calls_to_come_do_not_exist() {
    if !is_root() {
        return;
    }
    confined(|| {
        assert_eq!(call(libc::SYS_clone3, [0; ARGUMENTS]), libc::ENOSYS);
        assert_eq!(call(470, [0; ARGUMENTS]), libc::ENOSYS);
        assert_eq!(call(0x4000_0000 | libc::SYS_getpid, [0; ARGUMENTS]), libc::ENOSYS);
        // Threads, sockets, signals to itself, and another network namespace.
        assert_eq!(thread::spawn(|| 1).join().unwrap(), 1);
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = c_long::from(std::process::id());
        assert_eq!(call(libc::SYS_tgkill, [own, own, 0, 0, 0, 0]), 0);
        let namespace = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind)
            .unwrap();
    });
}
