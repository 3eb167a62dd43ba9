//! Fuzz targets: each takes any bytes, runs one parser and checks what must always hold.
//!
//! `tests/replay.rs` runs them over the committed corpora in `corpus/<target>`; `libfuzzer/` wraps
//! them for libFuzzer. An input that found a fault stays in the corpus.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a target reports what must not happen by panicking"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use governd::capture::{
    Parsers, Seen,
    engine::Engine,
    file::{Frame, Frames},
};
use governd_common::{
    dns::{DNS_BUFFER_BYTES, Dns, framing::Framing},
    http::Request,
    limits::{CHUNK_BYTES_MAX, DNS_ADDRESSES_MAX, DNS_MESSAGE_BYTES_MAX},
    name::{Name, Pattern},
    quic::Packet,
    repeat::Plain,
    stream::{Chunk, Progress},
    tls::Hello,
};
use zerocopy::FromZeros;

/// A target's function.
pub type Target = fn(&[u8]);

/// Every target, by the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("capture", capture),
    ("dns", dns),
    ("dns_stream", dns_stream),
    ("frame", frame),
    ("http", http),
    ("name", name),
    ("policy", policy),
    ("quic", quic),
    ("tls", tls),
    ("tls_another", tls_another),
];

/// A DNS message, read as an answer and as a query.
pub fn dns(bytes: &[u8]) {
    let mut dns = Dns::new_zeroed();
    for (place, byte) in dns.bytes.iter_mut().zip(bytes) {
        *place = *byte;
    }
    dns.len = u32::try_from(bytes.len().min(DNS_BUFFER_BYTES)).expect("bounded by the buffer");
    let is_answer = dns.answer::<Plain>().is_ok();
    assert!(dns.addresses().len() <= DNS_ADDRESSES_MAX);
    assert!(is_answer || dns.addresses().is_empty(), "a refused answer teaches nothing");
    if is_answer {
        assert!(Name::parse(dns.name.as_bytes()).is_ok(), "{}", dns.name);
    }
    let is_query = dns.query::<Plain>().is_ok();
    assert!(!(is_answer && is_query));
}

/// DNS messages in a stream, in pieces of a length that the first two bytes choose, against a
/// reader that has all of it at once.
pub fn dns_stream(bytes: &[u8]) {
    let Some((split, stream)) = bytes.split_at_checked(2) else { return };
    let mut expected = Vec::new();
    let mut rest = stream;
    while let Some(message) = governd::capture::first_message(rest) {
        expected.extend((message.len() <= DNS_MESSAGE_BYTES_MAX).then(|| message.to_vec()));
        rest = rest.get(2 + message.len()..).unwrap_or_default();
    }
    let (mut framing, mut message, mut found) = (Framing::new_zeroed(), Vec::new(), Vec::new());
    for mut piece in stream.chunks(piece(split)) {
        while let Some((octet, after)) = piece.split_first() {
            let is_whole = if framing.wants_length() {
                piece = after;
                framing.push_length(*octet);
                !framing.wants_length() && framing.message_len() == 0
            } else {
                let at_hand = u32::try_from(piece.len()).expect("bounded by the chunk");
                let taken = framing.piece(at_hand);
                let (now, after) = piece.split_at(taken as usize);
                assert_eq!(framing.filled() as usize, message.len());
                message.extend_from_slice(now);
                piece = after;
                framing.take(taken)
            };
            if is_whole {
                let whole = std::mem::take(&mut message);
                found.extend((!framing.is_too_long()).then_some(whole));
                framing.begin_again();
            }
        }
    }
    assert_eq!(found, expected);
}

/// What follows a hello, read as another one. The first two bytes choose the split.
pub fn tls_another(bytes: &[u8]) {
    let Some((split, stream)) = bytes.split_at_checked(2) else { return };
    let read = |piece: usize| {
        let mut hello = Hello::new_zeroed();
        hello.look_for_another();
        let outcome = feed(stream, piece, |chunk| hello.feed::<Plain>(chunk));
        (hello, outcome)
    };
    let ((whole, expected), (parts, outcome)) = (read(CHUNK_BYTES_MAX), read(piece(split)));
    assert_eq!(expected, outcome);
    assert_eq!(whole.name.as_bytes(), parts.name.as_bytes());
    if expected == Ok(Progress::Complete) {
        assert!(Name::parse(whole.name.as_bytes()).is_ok_and(|name| !name.ends_in_number()));
    }
}

/// A connection's beginning, read as TLS. The first two bytes choose the split.
pub fn tls(bytes: &[u8]) {
    let Some((split, stream)) = bytes.split_at_checked(2) else { return };
    let read = |piece: usize| {
        let mut hello = Hello::new_zeroed();
        let outcome = feed(stream, piece, |chunk| hello.feed::<Plain>(chunk));
        (hello, outcome)
    };
    let ((whole, expected), (parts, outcome)) = (read(CHUNK_BYTES_MAX), read(piece(split)));
    assert_eq!(expected, outcome);
    assert_eq!((whole.name.as_bytes(), whole.alpn), (parts.name.as_bytes(), parts.alpn));
    if expected == Ok(Progress::Complete) {
        assert!(Name::parse(whole.name.as_bytes()).is_ok_and(|name| !name.ends_in_number()));
    }
}

/// A connection's beginning, read as HTTP. The first two bytes choose the split.
pub fn http(bytes: &[u8]) {
    let Some((split, stream)) = bytes.split_at_checked(2) else { return };
    let read = |piece: usize| {
        let mut request = Request::new_zeroed();
        let outcome = feed(stream, piece, |chunk| request.feed(chunk));
        (request, outcome)
    };
    let ((whole, expected), (parts, outcome)) = (read(CHUNK_BYTES_MAX), read(piece(split)));
    assert_eq!(expected, outcome);
    assert_eq!(whole.name.as_bytes(), parts.name.as_bytes());
    if expected == Ok(Progress::Complete) {
        assert!(Name::parse(whole.name.as_bytes()).is_ok_and(|name| !name.ends_in_number()));
    }
}

/// A name or a pattern.
pub fn name(bytes: &[u8]) {
    if let Ok(name) = Name::parse(bytes) {
        assert!(Name::parse(name.as_bytes()).is_ok_and(|again| again == name));
        let (key, bits) = name.key(1);
        assert_eq!(bits as usize, (name.as_bytes().len() + 2) * 8);
        let reversed = name.as_bytes().iter().rev();
        assert!(key.bytes.iter().skip(1).zip(reversed).all(|(left, right)| left == right));
    }
    if let Ok(pattern) = Pattern::parse(bytes) {
        let (_, bits) = pattern.key(0);
        assert!(bits >= 24);
    }
}

/// The packets of a QUIC datagram: headers, protection and frames.
pub fn quic(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(packet) = Packet::parse(rest) {
        assert!(packet.number_at <= packet.end && packet.end <= rest.len() && packet.end > 0);
        rest = rest.get(packet.end..).unwrap_or_default();
    }
    let address = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    governd::capture::quic_names(address(1), address(443), bytes);
}

/// A capture file.
pub fn capture(bytes: &[u8]) {
    let mut found = 0_u64;
    let mut sink = |seen| found += u64::from(matches!(seen, Seen::Name(_)));
    let mut engine = Engine::new(Parsers::default(), &mut sink);
    let Ok(mut frames) = Frames::open(bytes) else { return };
    let mut read = 0_u64;
    while let Ok(Some(frame)) = frames.next_frame() {
        read += 1;
        assert_eq!(frame.number, read);
        let Ok(()) = engine.frame(&frame);
    }
    let Ok(summary) = engine.finish(frames.is_truncated());
    assert_eq!(summary.frames, read);
    assert_eq!(summary.found.values().sum::<u64>(), found);
}

/// Ethernet frames, each after its length in two bytes.
pub fn frame(bytes: &[u8]) {
    let mut sink = |_| {};
    let mut engine = Engine::new(Parsers::default(), &mut sink);
    let (mut rest, mut number) = (bytes, 0);
    while let Some((len, after)) = rest.split_at_checked(2) {
        let len = len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        let (frame, after) = after.split_at(len.min(after.len()));
        number += 1;
        let Ok(()) = engine.frame(&Frame { number, link: 1, bytes: frame.to_vec() });
        rest = after;
    }
    let Ok(summary) = engine.finish(false);
    assert_eq!(summary.frames, number);
}

/// A policy document.
pub fn policy(bytes: &[u8]) {
    if let Err(diagnostics) = governd::policy::load(&[("fuzz.yaml", bytes)]) {
        assert!(!diagnostics.to_string().is_empty(), "a refusal says why");
    }
}

fn piece(split: &[u8]) -> usize {
    split.iter().fold(0, |value, byte| value << 8 | usize::from(*byte)).clamp(1, CHUNK_BYTES_MAX)
}

fn feed<E: Copy + PartialEq>(
    stream: &[u8],
    piece: usize,
    mut feed: impl FnMut(&mut Chunk) -> Result<Progress, E>,
) -> Result<Progress, E> {
    let mut outcome = Ok(Progress::More);
    for part in stream.chunks(piece) {
        let mut chunk = Chunk::new_zeroed();
        for (place, byte) in chunk.bytes.iter_mut().zip(part) {
            *place = *byte;
        }
        chunk.len = u32::try_from(part.len()).expect("bounded by the chunk");
        outcome = feed(&mut chunk);
        assert!(chunk.at <= chunk.len);
        if outcome != Ok(Progress::More) {
            break;
        }
    }
    outcome
}
