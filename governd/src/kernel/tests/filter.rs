//! Filters at network interfaces, with a program that drops everything.

use std::{
    fs,
    net::UdpSocket,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    process::{self, Command},
    thread,
    time::Duration,
};

use super::{frames::enter_new, host::is_root};
use crate::kernel::{
    clear_unheld,
    filter::{self, Gate},
    layout, program, sys,
    tc::Spot,
};

const LOOPBACK: u32 = 1;
const SPOT: Spot = Spot { index: LOOPBACK, handle: 7 };

/// Verdicts (`TC_ACT_OK`, `TC_ACT_SHOT`, `TC_ACT_UNSPEC`).
const PASS: i32 = 0;
const DROP: i32 = 2;
const CONTINUE: i32 = -1;

/// A classifier that returns a verdict.
fn returning(verdict: i32) -> OwnedFd {
    let [a, b, c, d] = verdict.to_le_bytes();
    program::load_classifier(&[[0xb7, 0, 0, 0, a, b, c, d], [0x95, 0, 0, 0, 0, 0, 0, 0]]).unwrap()
}

/// In the thread's network namespace.
fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn filters() -> String {
    run("tc", "filter show dev lo egress")
}

fn has_clsact() -> bool {
    run("tc", "qdisc show dev lo").contains("clsact")
}

/// A filter of somebody else, which lets the next one decide.
fn add_another(options: &str) {
    let pin = format!("/sys/fs/bpf/other-{}", process::id());
    sys::pin(returning(CONTINUE).as_fd(), Path::new(&pin)).unwrap();
    run("tc", &format!("filter add dev lo egress {options} bpf object-pinned {pin} da"));
    fs::remove_file(pin).unwrap();
}

/// Whether a packet leaves by the loopback.
fn passes() -> bool {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sent = sender.send_to(b"?", receiver.local_addr().unwrap());
    sent.is_ok() && receiver.recv(&mut [0; 1]).is_ok()
}

/// Kernels with links may have filters only in modules that are not there.
pub(super) fn are_needed() -> bool {
    is_root() && (layout::of_kernel().unwrap().has_interfaces == 0 || filter::are_there())
}

fn in_a_namespace(test: impl FnOnce() + Send + 'static) {
    if are_needed() {
        let run = move || {
            enter_new();
            run("ip", "link set lo up");
            test();
        };
        thread::spawn(run).join().unwrap();
    }
}

#[test]
fn a_filter_drops_while_its_gate_is_held_and_lets_pass_when_nobody_holds_it() {
    in_a_namespace(|| {
        assert!(passes());
        let mut gate = Gate::attach(returning(DROP).as_fd(), SPOT, "frame").unwrap();
        assert!(!passes() && gate.is_attached_here().unwrap());
        gate.update(returning(PASS).as_fd()).unwrap();
        assert!(passes());
        gate.update(returning(DROP).as_fd()).unwrap();
        assert!(!passes());
        // As by kill -9: the filter stays, and calls nothing.
        drop(gate);
        while !passes() {}
        assert!(filters().contains("governd-frame+clsact"));
        // Who comes next takes its place.
        let gate = Gate::attach(returning(DROP).as_fd(), SPOT, "wire").unwrap();
        assert!(filters().contains("governd-wire+clsact") && !filters().contains("frame"));
        assert!(!passes());
        gate.clear().unwrap();
        assert!(passes() && !gate.is_attached().unwrap() && !has_clsact());
        gate.clear().unwrap();
    });
}

#[test]
fn filters_of_others_stay_and_the_qdisc_with_them() {
    in_a_namespace(|| {
        let first = Gate::attach(returning(DROP).as_fd(), SPOT, "frame").unwrap();
        add_another("prio 9");
        assert!(!passes());
        let other = Spot { handle: 8, ..SPOT };
        let second = Gate::attach(returning(PASS).as_fd(), other, "frame").unwrap();
        assert!(first.is_attached().unwrap() && second.is_attached().unwrap());
        first.clear().unwrap();
        assert!(passes() && !first.is_attached().unwrap() && second.is_attached().unwrap());
        second.clear().unwrap();
        assert!(filters().contains("pref 9 ") && !filters().contains("governd-"));
        run("tc", "qdisc del dev lo clsact");
        // A qdisc that somebody else made is his.
        run("tc", "qdisc add dev lo clsact");
        Gate::attach(returning(DROP).as_fd(), SPOT, "frame").unwrap().clear().unwrap();
        assert!(passes() && has_clsact());
    });
}

#[test]
fn the_qdisc_goes_with_the_last_of_governds_filters() {
    in_a_namespace(|| {
        let first = Gate::attach(returning(DROP).as_fd(), SPOT, "frame").unwrap();
        let other = Spot { handle: 8, ..SPOT };
        let second = Gate::attach(returning(DROP).as_fd(), other, "frame").unwrap();
        first.clear().unwrap();
        assert!(has_clsact() && second.is_attached().unwrap() && !passes());
        second.clear().unwrap();
        assert!(!has_clsact());
    });
}

#[test]
fn what_somebody_else_has_in_the_place_of_a_filter_is_neither_replaced_nor_taken_off() {
    in_a_namespace(|| {
        run("tc", "qdisc add dev lo clsact");
        add_another("prio 65520 handle 7");
        let refused = Gate::attach(returning(DROP).as_fd(), SPOT, "frame").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(clear_unheld().unwrap(), 0);
        assert!(filters().contains("handle 0x7") && passes());
    });
}

#[test]
fn an_interface_with_another_qdisc_in_that_place_takes_no_filter() {
    in_a_namespace(|| {
        run("tc", "qdisc add dev lo ingress");
        let refused = Gate::attach(returning(DROP).as_fd(), SPOT, "frame").unwrap_err();
        assert_eq!(refused.to_string(), "the qdisc `ingress` has the place");
        assert_eq!(run("tc", "filter show dev lo ingress"), "");
        assert!(run("tc", "qdisc show dev lo").contains("qdisc ingress"));
        run("tc", "qdisc del dev lo ingress");
        let _gate = Gate::attach(returning(DROP).as_fd(), SPOT, "frame").unwrap();
        assert!(!passes());
    });
}

#[test]
fn a_filter_that_somebody_takes_off_or_replaces_is_missed() {
    in_a_namespace(|| {
        let gate = Gate::attach(returning(DROP).as_fd(), SPOT, "frame").unwrap();
        let other = Gate::attach(returning(PASS).as_fd(), SPOT, "frame").unwrap();
        assert!(!gate.is_attached().unwrap() && other.is_attached().unwrap());
        // What is not its own it does not take off.
        gate.clear().unwrap();
        assert!(other.is_attached().unwrap());
        run("tc", "qdisc del dev lo clsact");
        assert!(!other.is_attached().unwrap());
        other.clear().unwrap();
    });
}

#[test]
fn a_gate_that_somebody_empties_is_missed() {
    in_a_namespace(|| {
        let gate = Gate::attach(returning(DROP).as_fd(), SPOT, "frame").unwrap();
        let pin = format!("/sys/fs/bpf/governd-test-gate-{}", process::id());
        gate.pin(Path::new(&pin)).unwrap();
        filter::open_up(sys::pinned(Path::new(&pin)).unwrap().as_fd()).unwrap();
        fs::remove_file(pin).unwrap();
        assert!(passes() && !gate.is_attached().unwrap());
        let gate = Gate::attach(returning(DROP).as_fd(), SPOT, "frame").unwrap();
        assert!(!passes() && gate.is_attached().unwrap());
    });
}

#[test]
fn what_nobody_holds_is_taken_off_and_the_rest_stays() {
    in_a_namespace(|| {
        let held = Gate::attach(returning(DROP).as_fd(), SPOT, "frame").unwrap();
        let killed = Spot { handle: 8, ..SPOT };
        drop(Gate::attach(returning(DROP).as_fd(), killed, "frame").unwrap());
        let pinned = Gate::attach(returning(CONTINUE).as_fd(), Spot { handle: 9, ..SPOT }, "wire");
        let pin = format!("/sys/fs/bpf/governd-test-held-{}", process::id());
        let pin = Path::new(&pin);
        pinned.unwrap().pin(pin).unwrap();
        add_another("prio 9");
        assert!(filters().contains("handle 0x8"));
        // The kernel empties what nobody holds some time later.
        while filters().contains("handle 0x8") {
            assert_eq!(clear_unheld().unwrap(), 0);
        }
        let listed = filters();
        assert!(["handle 0x7", "handle 0x9", "pref 9 "].iter().all(|left| listed.contains(left)));
        assert!(held.is_attached().unwrap() && !passes());
        fs::remove_file(pin).unwrap();
        while filters().contains("handle 0x9") {
            assert_eq!(clear_unheld().unwrap(), 0);
        }
        held.clear().unwrap();
        assert!(filters().contains("pref 9 "));
    });
}

#[test]
fn a_trial_says_that_this_kernel_has_filters_and_leaves_none() {
    in_a_namespace(|| {
        assert!(filter::are_there() && !has_clsact());
    });
}
