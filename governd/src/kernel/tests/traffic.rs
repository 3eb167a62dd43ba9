//! What went through connections, as their end tells it.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use governd_common::{
    event::TrafficEvent,
    verdict::{Mode, Verdict},
};

use super::{
    host::{Host, is_root},
    image::Policy,
};
use crate::kernel::{KernelOptions, RawEvent};

const SENT_BYTES: usize = 300_000;
const RECEIVED_BYTES: usize = 70_000;

/// Takes what one client sends, and answers.
fn serve(listener: &TcpListener) {
    let (mut peer, _) = listener.accept().unwrap();
    peer.read_exact(&mut vec![0; SENT_BYTES]).unwrap();
    peer.write_all(&vec![0; RECEIVED_BYTES]).unwrap();
}

fn traffic(host: &mut Host) -> Vec<TrafficEvent> {
    let events = host.drain().into_iter();
    events
        .filter_map(|event| if let RawEvent::Traffic(event) = event { Some(event) } else { None })
        .collect()
}

#[test]
fn the_end_of_a_connection_tells_the_bytes_of_both_directions() {
    if !is_root() {
        return;
    }
    for address in ["127.0.0.2:0", "[::1]:0"] {
        let mut host = Host::new(KernelOptions::default());
        let listener = TcpListener::bind(address).unwrap();
        let to = listener.local_addr().unwrap();
        let server = thread::spawn(move || serve(&listener));
        let policy = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce).network(
            Verdict::Allow,
            &to.ip().to_string(),
            (0, u16::MAX),
            0,
        );
        host.kernel.install(&policy.image).unwrap();
        assert_eq!(
            host.run(&format!("exchange {SENT_BYTES} {to}; udp-connect {to}")),
            ["ok", "ok"]
        );
        server.join().unwrap();
        let found = traffic(&mut host);
        let [event] = found.as_slice() else { panic!("one connection: {found:?}") };
        // SYN and FIN take a place in the sequence, and so may be in the kernel's counts.
        for (count, bytes) in [(event.sent, SENT_BYTES), (event.received, RECEIVED_BYTES)] {
            let beyond = count.checked_sub(bytes as u64);
            assert!(matches!(beyond, Some(0 | 1)), "{address}: {count} for {bytes}");
        }
        assert_eq!((event.address, event.port), (to.ip().into(), to.port()));
        assert_ne!((event.header.subject, event.header.tgid, event.cookie), (0, 0, 0));
    }
}

#[test]
fn what_is_nobodys_or_carried_nothing_is_not_told() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let to = listener.local_addr().unwrap();
    let nobody = Policy::empty();
    host.kernel.install(&nobody.image).unwrap();
    let server = thread::spawn(move || {
        serve(&listener);
        listener
    });
    assert_eq!(host.one(&format!("exchange {SENT_BYTES} {to}")), "ok");
    let listener = server.join().unwrap();
    let policy = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce);
    let policy = policy.network(Verdict::Allow, "127.0.0.2", (0, u16::MAX), 0);
    host.kernel.install(&policy.image).unwrap();
    assert_eq!(host.one(&format!("tcp {to}")), "ok");
    drop(listener);
    assert_eq!(traffic(&mut host), []);
}
