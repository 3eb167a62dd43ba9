//! The DNS parser against written rows, against random messages, and against an independent
//! decoder.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking, as the test itself does"
)]

use core::net::IpAddr;

use governd_common::{
    dns::{DNS_BUFFER_BYTES, Dns, DnsRefusal},
    limits::{DNS_ADDRESSES_MAX, DNS_MESSAGE_BYTES_MAX, DNS_RECORDS_MAX},
    repeat::Plain,
};
use proptest::prelude::*;
use zerocopy::FromZeros;

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const DNAME: u16 = 39;
const HTTPS: u16 = 65;
const QUESTION_AT: u16 = 12;

/// Writes a message byte by byte.
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn answer(question: &[u8], question_type: u16, counts: [u16; 3]) -> Self {
        let mut message = Self { bytes: vec![0x12, 0x34, 0x81, 0x80, 0, 1] };
        for count in counts {
            message.word(count);
        }
        message.bytes.extend(question);
        message.word(question_type).word(1);
        message
    }

    fn word(&mut self, value: u16) -> &mut Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    fn record(&mut self, owner: &[u8], kind: u16, ttl_s: u32, data: &[u8]) -> &mut Self {
        self.bytes.extend(owner);
        self.word(kind).word(1);
        self.bytes.extend(ttl_s.to_be_bytes());
        self.word(u16::try_from(data.len()).unwrap());
        self.bytes.extend(data);
        self
    }

    /// A pointer to where the next byte will be written, moved by `bytes`.
    fn pointer_ahead(&self, bytes: usize) -> [u8; 2] {
        pointer(u16::try_from(self.bytes.len() + bytes).unwrap())
    }
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> = labels
        .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat())
        .collect();
    bytes.push(0);
    bytes
}

fn pointer(at: u16) -> [u8; 2] {
    (0xc000 | at).to_be_bytes()
}

fn load(bytes: &[u8]) -> Box<Dns> {
    let mut dns = Box::new(Dns::new_zeroed());
    let len = bytes.len().min(DNS_BUFFER_BYTES);
    dns.bytes[..len].copy_from_slice(&bytes[..len]);
    dns.len = u32::try_from(bytes.len()).unwrap();
    dns
}

type Learned = (String, Vec<(IpAddr, u32)>);

fn learned(dns: &Dns) -> Learned {
    let addresses = dns.addresses().iter().map(|found| (found.address.into(), found.ttl_s));
    (dns.name.as_str().to_owned(), addresses.collect())
}

fn parse(bytes: &[u8]) -> Result<Learned, DnsRefusal> {
    let mut dns = load(bytes);
    let outcome = dns.answer::<Plain>();
    if outcome.is_err() {
        assert!(dns.addresses().is_empty(), "a refused message teaches nothing");
    }
    outcome.map(|()| learned(&dns))
}

fn expected(name: &str, addresses: &[(&str, u32)]) -> Learned {
    let addresses = addresses.iter().map(|(text, ttl_s)| (text.parse().unwrap(), *ttl_s));
    (name.to_owned(), addresses.collect())
}

#[test]
fn a_plain_answer_binds_its_addresses_and_folds_0x20() {
    let mut message = Message::answer(&wire("wWw.ExAmple.com"), A, [2, 0, 0]);
    message.record(&pointer(QUESTION_AT), A, 60, &[192, 0, 2, 1]);
    message.record(&wire("www.example.COM"), A, 70, &[192, 0, 2, 2]);
    let found = expected("www.example.com", &[("192.0.2.1", 60), ("192.0.2.2", 70)]);
    assert_eq!(parse(&message.bytes), Ok(found));
}

#[test]
fn a_query_gives_its_id_and_question() {
    let mut message = Message::answer(&wire("API.example"), AAAA, [0, 0, 0]);
    message.bytes[2] = 1;
    let mut dns = load(&message.bytes);
    assert_eq!(dns.query::<Plain>(), Ok(()));
    assert_eq!((dns.id, dns.question_type, dns.name.as_str()), (0x1234, AAAA, "api.example"));
    assert_eq!(dns.answer::<Plain>(), Err(DnsRefusal::Direction));
    message.bytes[2] = 0x81;
    assert_eq!(load(&message.bytes).query::<Plain>(), Err(DnsRefusal::Direction));
}

/// A query with these options, none if `None`, and these bytes after it.
fn query(flags: u16, options: Option<&[u8]>, after: &[u8]) -> Vec<u8> {
    let mut message =
        Message::answer(&wire("api.example"), A, [0, 0, u16::from(options.is_some())]);
    message.bytes[2..4].copy_from_slice(&flags.to_be_bytes());
    if let Some(options) = options {
        message.bytes.extend([0, 0, 41, 16, 0, 0, 0, 0x80, 0]);
        message.word(u16::try_from(options.len()).unwrap());
        message.bytes.extend(options);
    }
    message.bytes.extend(after);
    message.bytes
}

fn carries_nothing_else(bytes: &[u8]) -> bool {
    let mut dns = load(bytes);
    dns.query::<Plain>().unwrap();
    dns.carries_nothing_else::<Plain>().is_ok()
}

#[test]
fn what_clients_add_to_a_question_is_let_through() {
    let cookie = [&[0, 10, 0, 8][..], &[7; 8]].concat();
    let long_cookie = [&[0, 10, 0, 24][..], &[7; 24]].concat();
    let padded = [&cookie[..], &[0, 12, 0, 100], &[0; 100]].concat();
    let empty: Option<&[u8]> = None;
    for (flags, options) in [
        (0x0100, empty),
        (0x0120, empty),
        (0x0110, Some(&[])),
        (0x0100, Some(&cookie)),
        (0x0100, Some(&long_cookie)),
        (0x0100, Some(&padded)),
        (0x0100, Some(&[0, 11, 0, 0, 0, 3, 0, 0])),
        (0x0100, Some(&[0, 5, 0, 2, 8, 13])),
    ] {
        assert!(carries_nothing_else(&query(flags, options, &[])), "{flags:x} {options:?}");
    }
}

#[test]
fn what_could_carry_data_besides_the_question_is_not() {
    let short_cookie = [&[0, 10, 0, 9][..], &[7; 9]].concat();
    let long_cookie = [&[0, 10, 0, 41][..], &[7; 41]].concat();
    let many = [0, 3, 0, 0].repeat(17);
    type Options<'a> = Option<&'a [u8]>;
    let empty: Options<'_> = None;
    let rows: [(u16, Options<'_>, &[u8]); 14] = [
        (0x0140, empty, &[]),
        (0x0101, empty, &[]),
        (0x0180, empty, &[]),
        (0x0300, empty, &[]),
        (0x0500, empty, &[]),
        (0x0100, empty, &[0]),
        (0x0100, Some(&[]), &[0]),
        (0x0100, Some(&[0xfd, 0xe9, 0, 1, 7]), &[]),
        (0x0100, Some(&[0, 12, 0, 2, 0, 1]), &[]),
        (0x0100, Some(&[0, 3, 0, 1, 1]), &[]),
        (0x0100, Some(&short_cookie), &[]),
        (0x0100, Some(&long_cookie), &[]),
        (0x0100, Some(&many), &[]),
        (0x0100, Some(&[0, 12, 0, 9, 0]), &[]),
    ];
    for (flags, options, after) in rows {
        assert!(!carries_nothing_else(&query(flags, options, after)), "{flags:x} {options:?}");
    }
    // Another record in the place of EDNS, another version of it, a second one.
    for (at, byte) in [(2, 16), (6, 1), (8, 1)] {
        let mut bytes = query(0x0100, Some(&[]), &[]);
        let record = bytes.len() - 11;
        bytes[record + at] = byte;
        assert!(!carries_nothing_else(&bytes), "{at}");
    }
    let mut twice = query(0x0100, Some(&[]), &[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
    twice[11] = 2;
    assert!(!carries_nothing_else(&twice));
    let mut answered = query(0x0100, None, &[]);
    answered[7] = 1;
    assert!(!carries_nothing_else(&answered));
}

#[test]
fn the_cname_chain_is_followed_in_order() {
    let mut message = Message::answer(&wire("a.example"), AAAA, [4, 0, 0]);
    let middle = message.pointer_ahead(12);
    message.record(&pointer(QUESTION_AT), CNAME, 5, &wire("b.example.net"));
    let last = message.pointer_ahead(12);
    message.record(&middle, CNAME, 5, &[&[3], &b"cdn"[..], &middle].concat());
    message.record(&last, AAAA, 9, &[0x20; 16]);
    message.record(&pointer(QUESTION_AT), AAAA, 9, &[0x33; 16]);
    let found = expected("a.example", &[("2020:2020:2020:2020:2020:2020:2020:2020", 9)]);
    assert_eq!(parse(&message.bytes), Ok(found));
}

#[test]
fn other_owners_and_other_sections_teach_nothing() {
    let mut message = Message::answer(&wire("a.example"), A, [2, 1, 1]);
    message.record(&wire("b.example"), A, 9, &[192, 0, 2, 1]);
    message.record(&wire("xa.example"), A, 9, &[192, 0, 2, 2]);
    message.record(&pointer(QUESTION_AT), A, 9, &[192, 0, 2, 3]);
    message.record(&pointer(QUESTION_AT), A, 9, &[192, 0, 2, 4]);
    assert_eq!(parse(&message.bytes), Ok(expected("a.example", &[])));
}

#[test]
fn a_dname_is_passed_over_and_its_cname_counts() {
    let mut message = Message::answer(&wire("a.old.example"), A, [3, 0, 0]);
    message.record(&pointer(QUESTION_AT + 2), DNAME, 5, &wire("new.example"));
    message.record(&pointer(QUESTION_AT), CNAME, 0, &wire("a.new.example"));
    message.record(&wire("a.new.example"), A, 7, &[192, 0, 2, 1]);
    assert_eq!(parse(&message.bytes), Ok(expected("a.old.example", &[("192.0.2.1", 7)])));
}

#[test]
fn a_negative_ttl_is_zero() {
    let mut message = Message::answer(&wire("a.example"), A, [2, 0, 0]);
    message.record(&pointer(QUESTION_AT), A, 0x8000_0000, &[192, 0, 2, 1]);
    message.record(&pointer(QUESTION_AT), A, 0x7fff_ffff, &[192, 0, 2, 2]);
    let found = [("192.0.2.1", 0), ("192.0.2.2", 0x7fff_ffff)];
    assert_eq!(parse(&message.bytes), Ok(expected("a.example", &found)));
}

#[test]
fn service_bindings_are_counted() {
    let mut message = Message::answer(&wire("a.example"), HTTPS, [1, 0, 0]);
    message.record(&pointer(QUESTION_AT), HTTPS, 9, &[0, 1, 0]);
    let mut dns = load(&message.bytes);
    assert_eq!(dns.answer::<Plain>(), Ok(()));
    assert_eq!((dns.service_bindings, dns.question_type), (1, HTTPS));
}

#[test]
fn what_is_above_a_limit_is_ignored_and_counted() {
    let count = u16::try_from(DNS_RECORDS_MAX + 3).unwrap();
    let mut message = Message::answer(&wire("a.example"), A, [count, 0, 0]);
    for index in 0..count {
        message.record(&pointer(QUESTION_AT), A, 9, &[10, 0, 0, u8::try_from(index).unwrap()]);
    }
    let mut dns = load(&message.bytes);
    assert_eq!(dns.answer::<Plain>(), Ok(()));
    assert_eq!(dns.addresses().len(), DNS_ADDRESSES_MAX);
    assert_eq!(dns.ignored as usize, DNS_RECORDS_MAX + 3 - DNS_ADDRESSES_MAX);
}

#[test]
fn a_name_of_the_largest_size_is_compared_in_full() {
    let long =
        ["a", "b", "c", "d"].map(|byte| byte.repeat(if byte == "d" { 1 } else { 63 })).join(".");
    let long = format!("{long}{}", "e".repeat(60));
    assert_eq!(long.len(), 253);
    let mut message = Message::answer(&wire(&long), A, [2, 0, 0]);
    message.record(&wire(&long.to_uppercase()), A, 9, &[192, 0, 2, 1]);
    message.record(&wire(&format!("{}f", &long[..252])), A, 9, &[192, 0, 2, 2]);
    assert_eq!(parse(&message.bytes), Ok(expected(&long, &[("192.0.2.1", 9)])));
}

/// A message of which one field is changed, and what the parser says about it.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Learned, DnsRefusal> {
    let mut message = Message::answer(&wire("a.example"), A, [1, 0, 0]);
    message.record(&pointer(QUESTION_AT), A, 60, &[192, 0, 2, 1]);
    change(&mut message.bytes);
    parse(&message.bytes)
}

#[test]
fn each_refusal_has_its_reason() {
    type Change = fn(&mut Vec<u8>);
    let rows: [(&str, Change, DnsRefusal); 14] = [
        ("empty", |m| m.clear(), DnsRefusal::Length),
        ("cut header", |m| m.truncate(11), DnsRefusal::Length),
        ("too long", |m| m.resize(DNS_MESSAGE_BYTES_MAX + 1, 0), DnsRefusal::Length),
        ("update", |m| m[2] |= 0x28, DnsRefusal::Opcode),
        ("no question", |m| m[5] = 0, DnsRefusal::Questions),
        ("two questions", |m| m[5] = 2, DnsRefusal::Questions),
        ("chaos", |m| m[26] = 3, DnsRefusal::Class),
        ("server failure", |m| m[3] |= 2, DnsRefusal::Rcode),
        ("NUL in the name", |m| m[15] = 0, DnsRefusal::Name),
        ("dot in a label", |m| m[16] = b'.', DnsRefusal::Name),
        ("pointer in the question", |m| m[12] = 0xc0, DnsRefusal::Malformed),
        ("cut record", |m| m.truncate(m.len() - 1), DnsRefusal::Malformed),
        ("address of 5 bytes", |m| *m.get_mut(38).unwrap() = 5, DnsRefusal::Malformed),
        ("owner points at itself", |m| m[28] = 27, DnsRefusal::Malformed),
    ];
    for (what, change, refusal) in rows {
        assert_eq!(changed(change), Err(refusal), "{what}");
    }
    assert_eq!(changed(|_| {}), Ok(expected("a.example", &[("192.0.2.1", 60)])));
}

#[test]
fn the_root_and_an_empty_name_are_no_names() {
    let message = Message::answer(&[0], NS, [0, 0, 0]);
    assert_eq!(parse(&message.bytes), Err(DnsRefusal::Name));
}

#[test]
fn pointers_that_do_not_lead_backwards_are_malformed() {
    let base = Message::answer(&wire("a.example"), A, [1, 0, 0]).bytes;
    let at = u16::try_from(base.len()).unwrap();
    let owners = [pointer(at), pointer(at + 2), pointer(0), pointer(0x3fff)];
    for owner in owners {
        let mut message = Message { bytes: base.clone() };
        message.record(&owner, A, 60, &[192, 0, 2, 1]);
        assert_eq!(parse(&message.bytes), Err(DnsRefusal::Malformed), "{owner:x?}");
    }
}

#[test]
fn a_long_chain_of_pointers_is_malformed() {
    for (pointers, outcome) in [(15_u16, true), (18, false)] {
        let mut message = Message::answer(&wire("a.example"), A, [2, 0, 0]);
        let data_at = u16::try_from(message.bytes.len() + 12).unwrap();
        let chain: Vec<u8> = (0..pointers)
            .flat_map(|n| pointer(if n == 0 { QUESTION_AT } else { data_at + 2 * (n - 1) }))
            .collect();
        message.record(&pointer(QUESTION_AT), NS, 1, &chain);
        message.record(&pointer(data_at + 2 * (pointers - 1)), A, 60, &[192, 0, 2, 1]);
        assert_eq!(parse(&message.bytes).is_ok(), outcome, "{pointers}");
    }
}

/// What an independent decoder reads, by the same rules.
fn decoded_elsewhere(bytes: &[u8]) -> Option<Learned> {
    use simple_dns::{CLASS, Name, Packet, rdata::RData};
    let packet = Packet::parse(bytes).ok()?;
    let text = |name: &Name<'_>| {
        let labels: Vec<_> = name.as_bytes().map(<[u8]>::to_ascii_lowercase).collect();
        String::from_utf8_lossy(&labels.join(&b'.')).into_owned()
    };
    let name = text(&packet.questions.first()?.qname);
    let mut target = name.clone();
    let mut addresses = Vec::new();
    for record in packet.answers.iter().take(DNS_RECORDS_MAX) {
        if record.class != CLASS::IN || record.cache_flush || text(&record.name) != target {
            continue;
        }
        let ttl_s = if record.ttl > 0x7fff_ffff { 0 } else { record.ttl };
        match &record.rdata {
            RData::A(a) => addresses.push((IpAddr::V4(a.address.into()), ttl_s)),
            RData::AAAA(aaaa) => {
                addresses.push((core::net::Ipv6Addr::from(aaaa.address).to_canonical(), ttl_s))
            }
            RData::CNAME(cname) => target = text(&cname.0),
            _ => {}
        }
    }
    addresses.truncate(DNS_ADDRESSES_MAX);
    Some((name, addresses))
}

#[derive(Clone, Debug)]
enum Owner {
    Question,
    Data(usize),
    Written(String),
}

#[derive(Clone, Debug)]
struct Row {
    owner: Owner,
    kind: u16,
    ttl_s: u32,
    data_name: String,
    data: [u8; 16],
}

fn names() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["a.example", "A.Example", "b.example", "c.a.example", "x.y.z"])
        .prop_map(str::to_owned)
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let owner = prop_oneof![
        3 => Just(Owner::Question),
        3 => (0..4_usize).prop_map(Owner::Data),
        2 => names().prop_map(Owner::Written),
    ];
    let kind = proptest::sample::select(vec![A, AAAA, CNAME, CNAME, NS]);
    let row = (owner, kind, any::<u32>(), names(), any::<[u8; 16]>()).prop_map(
        |(owner, kind, ttl_s, data_name, data)| Row { owner, kind, ttl_s, data_name, data },
    );
    proptest::collection::vec(row, 0..8)
}

fn build(question: &str, rows: &[Row], counts: [u16; 3]) -> Vec<u8> {
    let mut message = Message::answer(&wire(question), A, counts);
    let mut data_at = Vec::new();
    for row in rows {
        let owner = match &row.owner {
            Owner::Written(name) => wire(name),
            Owner::Data(index) if *index < data_at.len() => pointer(data_at[*index]).to_vec(),
            Owner::Question | Owner::Data(_) => pointer(QUESTION_AT).to_vec(),
        };
        let data = match row.kind {
            A => row.data[..4].to_vec(),
            AAAA => row.data.to_vec(),
            _ => wire(&row.data_name),
        };
        if row.kind == CNAME || row.kind == NS {
            data_at.push(u16::try_from(message.bytes.len() + owner.len() + 10).unwrap());
        }
        message.record(&owner, row.kind, row.ttl_s, &data);
    }
    message.bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _learned_or_refused = parse(&bytes);
        let _read_or_refused = load(&bytes).query::<Plain>();
    }

    #[test]
    fn well_formed_answers_are_read_as_elsewhere(question in names(), rows in rows()) {
        let answers = u16::try_from(rows.len()).unwrap();
        let bytes = build(&question, &rows, [answers, 0, 0]);
        prop_assert_eq!(parse(&bytes).ok(), decoded_elsewhere(&bytes));
    }

    #[test]
    fn damaged_answers_never_teach_more_than_elsewhere(
        question in names(), rows in rows(), split in 0..8_u16,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let all = u16::try_from(rows.len()).unwrap();
        let answers = all.min(split);
        let mut bytes = build(&question, &rows, [answers, 0, all - answers]);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let (Ok(ours), Some(theirs)) = (parse(&bytes), decoded_elsewhere(&bytes)) {
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn bytes_after_the_message_are_never_read(
        question in names(),
        rows in rows(),
        cut in 0..200_usize,
    ) {
        let answers = u16::try_from(rows.len()).unwrap();
        let bytes = build(&question, &rows, [answers, 0, 0]);
        let used = bytes.len().saturating_sub(cut);
        let (mut zeroed, mut filled) = (load(&bytes[..used]), load(&bytes[..used]));
        filled.bytes[used..].fill(0xc0);
        prop_assert_eq!(zeroed.answer::<Plain>(), filled.answer::<Plain>());
        prop_assert_eq!(learned(&zeroed), learned(&filled));
    }
}
