//! The programs and user space agree on the names in first bytes, over random rules, bindings,
//! hellos and requests that are cut at random places.

use std::{cell::RefCell, net::SocketAddr};

use governd_common::{
    address::Address,
    decide::{Flow, Named, Proof, decide, decide_named},
    http::{HttpRefusal, Request},
    key::BindingKey,
    limits::CHUNK_BYTES_MAX,
    repeat::Plain,
    stream::{Chunk, Progress},
    table::{Binding, BoundSet, entry_flag, subject_flag},
    tls::{Hello, TlsRefusal},
    verdict::{Mode, Verdict},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use zerocopy::FromZeros;

use super::{
    differential::Bound,
    host::{Host, TestCgroup, is_root, with_and_without_loops},
    image::{AGENT, FIRST_SET, Policy},
    say::{LOST, bind, extension, hello, say, serve, server_name},
};
use crate::{kernel::KernelOptions, policy::tables::ImageTables};

const ADDRESS: &str = "127.0.0.6";
const PROTOCOL_TCP: u8 = 6;
const PATTERNS: [&str; 3] = ["api.example.com", "*.example.com", "*.example.org"];
const NAMES: [&str; 4] = ["api.example.com", "b.example.com", "a.b.example.org", "example.net"];
const FLAGS: [u8; 4] = [0, entry_flag::VERIFY_SNI, entry_flag::VERIFY_DNS, entry_flag::PLAINTEXT];

/// What is said, and how it is cut.
#[derive(Clone, Debug)]
struct Said {
    name: Option<&'static str>,
    is_http: bool,
    /// Bytes of an extension or a header before the name.
    filler: usize,
    /// Most bytes of a TLS record.
    record: usize,
    cuts: Vec<usize>,
}

impl Said {
    fn bytes(&self) -> Vec<u8> {
        let filler = "x".repeat(self.filler);
        if self.is_http {
            let host = self.name.map_or(String::new(), |name| format!("Host: {name}\r\n"));
            return format!("GET / HTTP/1.1\r\nX: {filler}\r\n{host}\r\n").into_bytes();
        }
        let name = self.name.map(server_name);
        let extensions = [Some(extension(21, filler.as_bytes())), name];
        hello(&extensions.into_iter().flatten().collect::<Vec<_>>(), self.record)
    }

    fn pieces(&self) -> Vec<Vec<u8>> {
        let bytes = self.bytes();
        let mut ends: Vec<usize> = self.cuts.iter().map(|cut| cut % bytes.len()).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let starts = std::iter::once(0).chain(ends.clone());
        let pieces = starts.zip(ends).map(|(start, end)| bytes[start..end].to_vec());
        pieces.filter(|piece| !piece.is_empty()).collect()
    }

    /// The name as user space reads it, or whether the bytes name nobody for certain.
    fn read(&self) -> Result<String, bool> {
        let (mut hello, mut request) = (Hello::new_zeroed(), Request::new_zeroed());
        for part in self.bytes().chunks(CHUNK_BYTES_MAX) {
            let mut chunk = Chunk::new_zeroed();
            chunk.bytes[..part.len()].copy_from_slice(part);
            chunk.len = u32::try_from(part.len()).unwrap();
            let progress = if self.is_http {
                request.feed(&mut chunk).map_err(|refusal| {
                    matches!(
                        refusal,
                        HttpRefusal::NotHttp | HttpRefusal::NoHost | HttpRefusal::Address
                    )
                })?
            } else {
                hello.feed::<Plain>(&mut chunk).map_err(|refusal| {
                    // One that is too long may name somebody further on.
                    matches!(refusal, TlsRefusal::NotTls | TlsRefusal::NoName | TlsRefusal::Address)
                })?
            };
            if progress == Progress::Complete {
                let name = if self.is_http { &request.name } else { &hello.name };
                return Ok(String::from_utf8(name.as_bytes().to_vec()).unwrap());
            }
        }
        Err(true)
    }
}

fn said() -> impl Strategy<Value = Said> {
    let name = prop::option::weighted(0.9, select(NAMES.as_slice()));
    let filler = prop_oneof![0_usize..40, 1_300_usize..3_000];
    let record = prop_oneof![1_usize..60, Just(16_384)];
    (name, any::<bool>(), filler, record, vec(any::<usize>(), 0..5)).prop_map(
        |(name, is_http, filler, record, cuts)| Said { name, is_http, filler, record, cuts },
    )
}

#[derive(Clone, Debug)]
struct Case {
    default: Verdict,
    rules: Vec<(Verdict, u8)>,
    network: Option<Verdict>,
    sets: Vec<u32>,
    said: Vec<Said>,
}

fn case() -> impl Strategy<Value = Case> {
    let verdict = || any::<bool>().prop_map(|is| if is { Verdict::Allow } else { Verdict::Deny });
    let rules = vec((verdict(), select(FLAGS.as_slice())), PATTERNS.len());
    let sets = vec(FIRST_SET..FIRST_SET + PATTERNS.len() as u32 + 1, 0..3);
    (verdict(), rules, prop::option::of(verdict()), sets, vec(said(), 1..4)).prop_map(
        |(default, rules, network, sets, said)| Case { default, rules, network, sets, said },
    )
}

#[test]
fn the_programs_read_names_and_decide_as_user_space_does() {
    if !is_root() {
        return;
    }
    let to = serve(&format!("{ADDRESS}:0"));
    for layout in with_and_without_loops() {
        let host = RefCell::new(Host::on(TestCgroup::new(), KernelOptions::default(), layout));
        let config = Config { cases: 16, failure_persistence: None, ..Config::default() };
        let outcome =
            TestRunner::new(config).run(&case(), |case| compare(&mut host.borrow_mut(), to, &case));
        outcome.unwrap();
    }
}

fn compare(host: &mut Host, to: SocketAddr, case: &Case) -> Result<(), TestCaseError> {
    let mut policy = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce);
    let denies = case.rules.iter().any(|(verdict, _)| *verdict == Verdict::Deny);
    let flags = if denies { subject_flag::NAME_DENIALS } else { 0 };
    policy = policy.subject(Mode::Enforce, case.default, flags);
    for ((verdict, flags), pattern) in case.rules.iter().zip(PATTERNS) {
        policy = policy.verified_by(*flags).name(*verdict, pattern);
    }
    if let Some(verdict) = case.network {
        policy = policy.verified_by(0).network(verdict, ADDRESS, (0, u16::MAX), 0);
    }
    host.kernel.install(&policy.image).unwrap();
    bind(host, ADDRESS, &case.sets);
    let address = Address::from(to.ip());
    let mut binding = Binding::new_zeroed();
    for (place, set) in binding.sets.iter_mut().zip(&case.sets) {
        *place = BoundSet { expires_ns: u64::MAX, set: *set, reserved: 0 };
    }
    let bindings = [(BindingKey { subject: AGENT, address }, binding)];
    let tables = Bound { tables: ImageTables::new(&policy.image), bindings: &bindings };
    let flow = Flow { subject: AGENT, address, port: to.port(), protocol: PROTOCOL_TCP, now_ns: 2 };
    for said in &case.said {
        let outcome = say(host, to, &said.pieces());
        prop_assert_eq!(outcome, expected(&tables, &flow, said), "{:?}", said);
        host.drain();
    }
    Ok(())
}

fn expected(tables: &Bound<'_>, flow: &Flow, said: &Said) -> &'static str {
    let first = decide(tables, flow);
    match (first.verdict, first.proof) {
        (Verdict::Deny, _) => return "EACCES",
        (Verdict::Allow, Proof::None | Proof::Quic) => return "ok",
        (Verdict::Allow, Proof::Name | Proof::Denials) => {}
    }
    let name = match said.read() {
        Ok(name) => name,
        Err(true) if first.proof == Proof::Denials => return "ok",
        Err(_) => return LOST,
    };
    let set = tables.tables.name_set(&name).unwrap_or(0);
    let named = Named::by_bytes(set, said.is_http);
    if decide_named(tables, flow, named).refuses() { LOST } else { "ok" }
}
