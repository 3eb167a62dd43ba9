//! The ClientHello parser against written rows, in every split, and against an independent decoder.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking, as the test itself does"
)]

use governd_common::{
    limits::{CHUNK_BYTES_MAX, HELLO_BYTES_MAX},
    repeat::Plain,
    stream::{Chunk, Progress},
    tls::{Hello, TlsRefusal},
};
use proptest::prelude::*;
use zerocopy::FromZeros;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const KEY_SHARE: u16 = 51;
const ECH: u16 = 0xfe0d;
const GREASE: u16 = 0x2a2a;

fn with_len<const BYTES: usize>(body: &[u8]) -> Vec<u8> {
    let len = body.len().to_be_bytes();
    [&len[len.len() - BYTES..], body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &with_len::<2>(body)].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(SERVER_NAME, &with_len::<2>(&[&[0], &with_len::<2>(name)[..]].concat()))
}

fn alpn(protocols: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = protocols.iter().flat_map(|name| with_len::<1>(name)).collect();
    extension(ALPN, &with_len::<2>(&list))
}

/// A handshake message with these extensions; `None` for a hello from before there were any.
fn message(extensions: Option<&[Vec<u8>]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([0x55; 32]);
    body.extend(with_len::<1>(&[0x77; 32]));
    body.extend(with_len::<2>(&[0x13, 0x01, 0x13, 0x02, 0x2a, 0x2a]));
    body.extend(with_len::<1>(&[0]));
    if let Some(extensions) = extensions {
        body.extend(with_len::<2>(&extensions.concat()));
    }
    [&[1], &with_len::<3>(&body)[..]].concat()
}

/// The records that carry a message, cut after each number of bytes (the last one repeats).
fn records(message: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut rest = message;
    for index in 0.. {
        let cut = cuts.get(index).or(cuts.last()).copied().unwrap_or(rest.len()).max(1);
        let (fragment, after) = rest.split_at(cut.min(rest.len()));
        stream.extend([22, 3, 1]);
        stream.extend(with_len::<2>(fragment));
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    stream
}

fn chunk(bytes: &[u8]) -> Chunk {
    let mut chunk = Chunk::new_zeroed();
    chunk.bytes[..bytes.len()].copy_from_slice(bytes);
    chunk.len = u32::try_from(bytes.len()).unwrap();
    chunk
}

/// Feeds a stream in pieces of these lengths (the last one repeats).
fn feed(hello: &mut Hello, stream: &[u8], pieces: &[usize]) -> Result<Progress, TlsRefusal> {
    let mut rest = stream;
    for index in 0.. {
        let piece = pieces.get(index).or(pieces.last()).copied().unwrap_or(CHUNK_BYTES_MAX);
        let (now, after) = rest.split_at(piece.clamp(1, CHUNK_BYTES_MAX).min(rest.len()));
        let progress = hello.feed::<Plain>(&mut chunk(now))?;
        if progress == Progress::Complete || after.is_empty() {
            return Ok(progress);
        }
        rest = after;
    }
    Ok(Progress::More)
}

fn parse(stream: &[u8]) -> Result<Hello, TlsRefusal> {
    let mut hello = Hello::new_zeroed();
    assert_eq!(feed(&mut hello, stream, &[])?, Progress::Complete);
    Ok(hello)
}

fn refusal(extensions: &[Vec<u8>]) -> Option<TlsRefusal> {
    parse(&records(&message(Some(extensions)), &[])).err()
}

fn browser() -> Vec<Vec<u8>> {
    vec![
        extension(GREASE, &[]),
        extension(KEY_SHARE, &[9; 1_300]),
        alpn(&[b"h2", b"http/1.1"]),
        extension(ECH, &[1; 200]),
        extension(GREASE, &[0]),
        server_name(b"Api.Example"),
    ]
}

#[test]
fn a_browsers_hello_is_read_in_every_split() {
    let message = message(Some(&browser()));
    for record_bytes in [1, 2, 3, 5, 100, 1_000, message.len()] {
        let stream = records(&message, &[record_bytes]);
        for piece in [1, 2, 3, 7, 64, 1_000, CHUNK_BYTES_MAX] {
            let mut hello = Hello::new_zeroed();
            let outcome = feed(&mut hello, &stream, &[piece]);
            assert_eq!(outcome, Ok(Progress::Complete), "{record_bytes} {piece}");
            assert_eq!(hello.name.as_str(), "api.example");
            assert_eq!(&hello.alpn[..hello.alpn_len as usize], b"\x02h2\x08http/1.1");
            assert_eq!((hello.has_ech, hello.taken as usize), (1, stream.len()));
        }
    }
}

#[test]
fn nothing_is_told_before_the_last_byte() {
    let stream = records(&message(Some(&browser())), &[]);
    let mut hello = Hello::new_zeroed();
    let outcome = feed(&mut hello, &stream[..stream.len() - 1], &[]);
    assert_eq!(outcome, Ok(Progress::More));
    assert_eq!(
        hello.feed::<Plain>(&mut chunk(&stream[stream.len() - 1..])),
        Ok(Progress::Complete)
    );
}

#[test]
fn bytes_that_nobody_looks_at_can_be_left_out() {
    let stream = records(&message(Some(&browser())), &[700]);
    let mut hello = Hello::new_zeroed();
    let (mut at, mut left_out, mut outcome) = (0, 0, Ok(Progress::More));
    while outcome == Ok(Progress::More) && at < stream.len() {
        let passed = hello.pass(u32::try_from(stream.len() - at).unwrap()) as usize;
        left_out += passed;
        at += passed;
        let end = (at + 16).min(stream.len());
        outcome = hello.feed::<Plain>(&mut chunk(&stream[at..end]));
        at = end;
    }
    assert_eq!((outcome, hello.name.as_str()), (Ok(Progress::Complete), "api.example"));
    assert!(left_out > 1_300, "{left_out}");
}

#[test]
fn a_hello_without_records_is_read_as_in_quic() {
    let mut hello = Hello::without_records();
    let message = message(Some(&browser()));
    assert_eq!(feed(&mut hello, &message, &[9]), Ok(Progress::Complete));
    assert_eq!(hello.name.as_str(), "api.example");
}

#[test]
fn names_that_do_not_count_are_refused_with_their_reason() {
    let long_label = [b'a'; 64];
    let long_name = b"a.".repeat(128);
    let rows: [(&[u8], TlsRefusal); 11] = [
        (b"192.0.2.1", TlsRefusal::Address),
        (b"[2001:db8::1]", TlsRefusal::Name),
        (b"a.example:443", TlsRefusal::Name),
        (b"a.example\0.b.example", TlsRefusal::Nul),
        ("ä.example".as_bytes(), TlsRefusal::NonAscii),
        (b"a b", TlsRefusal::Name),
        (b"a..b", TlsRefusal::Name),
        (b".", TlsRefusal::Name),
        (b"", TlsRefusal::Name),
        (&long_label, TlsRefusal::NameTooLong),
        (&long_name, TlsRefusal::NameTooLong),
    ];
    for (name, reason) in rows {
        assert_eq!(refusal(&[server_name(name)]), Some(reason), "{}", name.escape_ascii());
    }
    assert_eq!(refusal(&[server_name(b"a.example.")]), None);
}

#[test]
fn hellos_that_do_not_count_are_refused_with_their_reason() {
    let name = server_name(b"a.example");
    let two = [&[0], &with_len::<2>(b"a.example")[..]].concat().repeat(2);
    let other_type = extension(SERVER_NAME, &with_len::<2>(&[1, 0, 1, b'a']));
    let rows: [(&str, Vec<Vec<u8>>, TlsRefusal); 7] = [
        ("no name", vec![alpn(&[b"h2"])], TlsRefusal::NoName),
        ("no extensions", vec![], TlsRefusal::NoName),
        ("two extensions", vec![name.clone(), name.clone()], TlsRefusal::Duplicate),
        ("two names", vec![extension(SERVER_NAME, &with_len::<2>(&two))], TlsRefusal::Duplicate),
        ("another name type", vec![other_type], TlsRefusal::Malformed),
        ("empty extension", vec![extension(SERVER_NAME, &[])], TlsRefusal::Malformed),
        ("empty list", vec![extension(SERVER_NAME, &[0, 0])], TlsRefusal::Malformed),
    ];
    for (what, extensions, reason) in rows {
        assert_eq!(refusal(&extensions), Some(reason), "{what}");
    }
    let old = parse(&records(&message(None), &[]));
    assert_eq!(old.err(), Some(TlsRefusal::NoName));
}

#[test]
fn what_is_not_a_hello_is_refused() {
    let hello = records(&message(Some(&browser())), &[]);
    let changed = |at: usize, byte: u8| {
        let mut stream = hello.clone();
        stream[at] = byte;
        parse(&stream).err()
    };
    assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n").err(), Some(TlsRefusal::NotTls));
    assert_eq!(changed(0, 23), Some(TlsRefusal::NotTls));
    assert_eq!(changed(1, 2), Some(TlsRefusal::NotTls));
    assert_eq!(changed(2, 5), Some(TlsRefusal::NotTls));
    assert_eq!(changed(5, 2), Some(TlsRefusal::NotTls));
    assert_eq!(changed(6, 1), Some(TlsRefusal::TooLong));
    assert_eq!(changed(43, 33), Some(TlsRefusal::Malformed));
    let mut interrupted = records(&message(Some(&browser())), &[100]);
    interrupted[105] = 21;
    assert_eq!(parse(&interrupted).err(), Some(TlsRefusal::Malformed));
}

#[test]
fn a_hello_that_does_not_end_in_time_is_too_long() {
    let padded = |bytes: usize| {
        let extensions = [server_name(b"a.example"), extension(21, &vec![0; bytes])];
        records(&message(Some(&extensions)), &[4_000])
    };
    assert!(parse(&padded(16_000)).is_ok());
    let stream = padded(16_300);
    assert!(stream.len() > HELLO_BYTES_MAX);
    assert_eq!(parse(&stream).err(), Some(TlsRefusal::TooLong));
}

/// The name that an independent decoder reads from a message, if it accepts the message whole.
fn decoded_elsewhere(message: &[u8]) -> Option<Vec<u8>> {
    use tls_parser::{SNIType, TlsExtension, TlsMessage, TlsMessageHandshake};
    let (rest, parsed) = tls_parser::parse_tls_message_handshake(message).ok()?;
    let TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)) = parsed else {
        return None;
    };
    let (after, extensions) = tls_parser::parse_tls_extensions(hello.ext?).ok()?;
    let mut names = extensions.iter().filter_map(|extension| match extension {
        TlsExtension::SNI(names) => Some(names),
        _ => None,
    });
    let (first, second) = (names.next()?, names.next());
    let is_whole = rest.is_empty() && after.is_empty() && second.is_none();
    match first[..] {
        [(SNIType::HostName, name)] if is_whole => {
            // Names are read without a final dot (RFC 6066 section 3 allows none).
            Some(name.strip_suffix(b".").unwrap_or(name).to_ascii_lowercase())
        }
        _ => None,
    }
}

fn extensions() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let name = prop_oneof![
        4 => "[a-zA-Z0-9_-]{1,9}(\\.[a-zA-Z0-9-]{1,9}){0,3}",
        1 => "[ -~]{0,12}",
    ];
    let one = prop_oneof![
        3 => name.prop_map(|name| server_name(name.as_bytes())),
        1 => Just(alpn(&[b"h2"])),
        1 => Just(extension(ECH, &[0; 40])),
        2 => (100..60_000_u16, proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(kind, body)| extension(kind, &body)),
    ];
    proptest::collection::vec(one, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_read_or_refused(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400), is_tls in any::<bool>(),
    ) {
        if is_tls && bytes.len() > 9 {
            bytes[..9].copy_from_slice(&[22, 3, 1, 1, 0, 1, 0, 0, 200]);
        }
        let mut hello = Hello::new_zeroed();
        let _read_or_refused = feed(&mut hello, &bytes, &[]);
        prop_assert!(hello.taken as usize <= bytes.len());
    }

    #[test]
    fn the_split_never_matters(
        extensions in extensions(), cuts in proptest::collection::vec(1..300_usize, 1..6),
        pieces in proptest::collection::vec(1..300_usize, 1..6),
        damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut message = message(Some(&extensions));
        if let Some((at, byte)) = damage {
            let at = at.index(message.len());
            message[at] = byte;
        }
        let (mut whole, mut split) = (Hello::without_records(), Hello::new_zeroed());
        let expected = feed(&mut whole, &message, &[]);
        let outcome = feed(&mut split, &records(&message, &cuts), &pieces);
        prop_assert_eq!(expected, outcome);
        prop_assert_eq!(whole.name.as_str(), split.name.as_str());
        prop_assert_eq!((whole.alpn, whole.has_ech), (split.alpn, split.has_ech));
    }

    #[test]
    fn names_are_those_that_are_read_elsewhere(
        extensions in extensions(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut message = message(Some(&extensions));
        for (at, byte) in damage {
            let at = at.index(message.len());
            message[at] = byte;
        }
        let mut hello = Hello::without_records();
        if feed(&mut hello, &message, &[]) == Ok(Progress::Complete)
            && let Some(name) = decoded_elsewhere(&message)
        {
            prop_assert_eq!(hello.name.as_bytes(), &name[..]);
        }
    }

    #[test]
    fn a_plain_name_is_always_found(
        name in "[a-z0-9-]{1,20}(\\.[a-z0-9-]{1,20}){0,3}\\.[a-z]{2,9}", others in extensions(),
        place in any::<prop::sample::Index>(),
    ) {
        let mut all: Vec<_> = others.into_iter().filter(|one| one[..2] != [0, 0]).collect();
        all.insert(place.index(all.len() + 1), server_name(name.as_bytes()));
        let hello = parse(&records(&message(Some(&all)), &[])).unwrap();
        prop_assert_eq!(hello.name.as_str(), &name);
        prop_assert_eq!(decoded_elsewhere(&message(Some(&all))).unwrap(), name.as_bytes());
    }
}

/// The records of kinds that may stand between two hellos.
fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &with_len::<2>(body)[..]].concat()
}

/// What follows a first hello, with early data or not, is read as, in pieces of each length.
fn after_hello(early: bool, rest: &[u8]) -> Result<String, TlsRefusal> {
    let mut extensions = browser();
    if early {
        extensions.insert(1, extension(42, &[]));
    }
    let first = records(&message(Some(&extensions)), &[]);
    let outcomes = [1, 3, 100, CHUNK_BYTES_MAX].map(|piece| {
        let mut hello = Hello::new_zeroed();
        assert_eq!(feed(&mut hello, &first, &[]), Ok(Progress::Complete));
        hello.look_for_another();
        let progress = feed(&mut hello, rest, &[piece])?;
        let name = hello.name.as_str().to_owned();
        Ok(if progress == Progress::Complete { name } else { "more".to_owned() })
    });
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{outcomes:?}");
    outcomes.into_iter().next().unwrap()
}

#[test]
fn another_hello_is_found_behind_what_may_stand_before_it() {
    let message = message(Some(&[server_name(b"other.example")]));
    let change = record(20, &[1]);
    let early = [record(23, &[7; 16_384]), record(23, &[8; 300])].concat();
    for cut in [1, 50, message.len()] {
        let other = records(&message, &[cut]);
        for (has_early, before) in [
            (false, Vec::new()),
            (false, change.clone()),
            (false, [change.clone(), record(21, &[1, 90])].concat()),
            (false, record(22, &[])),
            (true, early.clone()),
            (true, [change.clone(), early.clone(), change.clone()].concat()),
        ] {
            let found = after_hello(has_early, &[before, other.clone()].concat());
            assert_eq!(found.as_deref(), Ok("other.example"), "{cut}");
        }
    }
}

#[test]
fn what_else_follows_a_hello_ends_the_look_for_another() {
    let over = Err(TlsRefusal::NotTls);
    let mut encrypted = vec![1, 0x20, 0, 9, 3, 3];
    encrypted.resize(38, 0x55);
    encrypted.resize(60, 33);
    let rows: [(bool, Vec<u8>); 6] = [
        (false, record(23, &[0; 50])),
        (false, [record(20, &[1]), record(23, &[0; 50])].concat()),
        // TLS 1.2: the key exchange, and the end of a resumed session.
        (false, record(22, &[16, 0, 0, 33])),
        (false, [record(20, &[1]), record(22, &[0x9a; 40])].concat()),
        (false, [record(20, &[1]), record(22, &encrypted)].concat()),
        (true, [vec![record(23, &[0; 16_384]); 5].concat(), record(22, &[1])].concat()),
    ];
    for (has_early, rest) in rows {
        assert_eq!(after_hello(has_early, &rest), over, "{:?}", &rest[..9]);
    }
    assert_eq!(after_hello(false, &record(20, &[1])), Ok("more".to_owned()));
    let long = [&[1, 0, 0x80, 0, 3, 3][..], &[0x55; 32], &[0; 9]].concat();
    assert_eq!(after_hello(false, &record(22, &long)), Err(TlsRefusal::TooLong));
}
