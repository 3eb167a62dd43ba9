//! Both ways in which programs repeat go as far as the parsers want: to the last byte of the
//! longest name, message, padding and chunk, and no further.

use governd_common::{
    layout::KernelLayout,
    limits::{DNS_MESSAGE_BYTES_MAX, DNS_RECORDS_MAX, NAME_BYTES_MAX},
    table::{entry_flag, subject_flag},
    verdict::{Mode, Verdict},
};

use super::{
    dns::{answer_once, hex, message, query, record},
    dns_tcp::{own_address, padded},
    host::{EPERM, Host, TestCgroup, is_root, with_and_without_loops},
    image::{FIRST_SET, Policy},
    say::{LOST, bind, hello, say, serve, server_name},
};
use crate::kernel::KernelOptions;

const GOOD: &str = "api.example.com";
/// Type and class of an address, how long it lives and how long it is.
const ADDRESS: [u8; 10] = [0, 1, 0, 1, 0, 0, 0, 60, 0, 4];

fn hosts() -> impl Iterator<Item = (u32, Host)> {
    with_and_without_loops().into_iter().map(|layout: KernelLayout| {
        (layout.has_loops, Host::on(TestCgroup::new(), KernelOptions::default(), layout))
    })
}

/// As long as a name may be.
fn longest() -> String {
    let name = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    assert_eq!(name.len(), NAME_BYTES_MAX);
    name
}

#[test]
fn an_answer_is_read_to_its_last_record_and_a_name_to_its_last_byte() {
    if !is_root() {
        return;
    }
    let resolver = own_address(114);
    let name = longest();
    let nearly = format!("{}x", &name[..name.len() - 1]);
    let address = |last: usize| [203, 0, 113, u8::try_from(last).unwrap()];
    let short = |last| [&[0xc0, 12], &ADDRESS[..], &address(last)].concat();
    let spelled = |owner: &str, last| record(owner, 1, &address(last));
    let mut long: Vec<_> = (1..=12).map(|last| spelled(&name.to_uppercase(), last)).collect();
    long.push(spelled(&nearly, 99));
    long.extend((13..=30).map(short));
    let many: Vec<_> = (1..=DNS_RECORDS_MAX + 3).map(short).collect();
    for (has_loops, mut host) in hosts() {
        let policy = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce).resolver(&resolver);
        host.kernel.install(&policy.name(Verdict::Allow, &name).image).unwrap();
        for (records, learned) in [(&long, 30), (&many, DNS_RECORDS_MAX)] {
            let answer = message(&name, records);
            assert!(answer.len() <= DNS_MESSAGE_BYTES_MAX, "{}", answer.len());
            let server = answer_once(&resolver, answer);
            let ask = format!("ask {resolver}:53 {}", hex(&query(&name)));
            assert_eq!(host.one(&ask), "ok", "{has_loops}");
            server.join().unwrap();
            let bound = host.kernel.bindings().unwrap().into_iter().filter(|(key, binding)| {
                assert_ne!(key.address.bytes[15], 99, "{has_loops}: the other name's");
                binding.sets.iter().any(|bound| bound.set == FIRST_SET)
            });
            assert_eq!(bound.count(), learned, "{has_loops}");
        }
    }
}

#[test]
fn padding_is_read_to_its_last_byte() {
    if !is_root() {
        return;
    }
    let resolver = own_address(115);
    let zeroes = padded(DNS_MESSAGE_BYTES_MAX);
    let mut data = zeroes.clone();
    *data.last_mut().unwrap() = 1;
    for (has_loops, mut host) in hosts() {
        let image = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce)
            .subject(Mode::Enforce, Verdict::Deny, subject_flag::DNS_RESTRICT)
            .resolver(&resolver)
            .name(Verdict::Allow, GOOD)
            .image;
        host.kernel.install(&image).unwrap();
        let ask = |message: &[u8]| host.one(&format!("ask {resolver}:53 {}", hex(message)));
        // What a kernel without bpf_set_retval gives for every refusal is told as `EACCES`.
        assert!([EPERM, "EACCES"].contains(&ask(&data).as_str()), "{has_loops}");
        let server = answer_once(&resolver, message(GOOD, &[]));
        assert_eq!(ask(&zeroes), "ok", "{has_loops}");
        server.join().unwrap();
    }
}

#[test]
fn first_bytes_are_read_to_the_last_of_a_chunk_and_on() {
    if !is_root() {
        return;
    }
    let address = own_address(116);
    let to = serve(&format!("{address}:0"));
    let get = |name: &str| {
        format!("GET / HTTP/1.1\r\nX: {}\r\nHost: {name}\r\n\r\n", "x".repeat(9_000)).into_bytes()
    };
    let greet = |name: &str| hello(&[server_name(name)], 1);
    for (has_loops, mut host) in hosts() {
        let image = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce)
            .verified_by(entry_flag::PLAINTEXT)
            .name(Verdict::Allow, GOOD)
            .image;
        host.kernel.install(&image).unwrap();
        bind(&mut host, &address, &[FIRST_SET]);
        for (name, outcome) in [(GOOD, "ok"), ("evil.example.net", LOST)] {
            assert_eq!(say(&host, to, &[get(name)]), outcome, "{has_loops}: HTTP, {name}");
            assert_eq!(say(&host, to, &[greet(name)]), outcome, "{has_loops}: TLS, {name}");
        }
    }
}
