//! All requests of a plaintext connection, against written rows and in every split.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, as the test itself does"
)]

use governd_common::{
    conversation::Conversation,
    http::HttpRefusal,
    limits::CHUNK_BYTES_MAX,
    repeat::Plain,
    stream::{Chunk, Progress},
};
use proptest::prelude::*;
use zerocopy::FromZeros;

/// The hosts that the requests name, and how it ended.
fn hosts(bytes: &[u8], piece: usize) -> (Vec<String>, Result<bool, HttpRefusal>) {
    let mut talk = Conversation::new_zeroed();
    let mut hosts = Vec::new();
    for part in bytes.chunks(piece.clamp(1, CHUNK_BYTES_MAX)) {
        let mut part = part;
        while !part.is_empty() && !talk.is_stream() {
            let passed = talk.pass(u32::try_from(part.len()).unwrap()) as usize;
            part = &part[passed..];
            let mut chunk = Chunk::new_zeroed();
            chunk.bytes[..part.len()].copy_from_slice(part);
            chunk.len = u32::try_from(part.len()).unwrap();
            match talk.feed::<Plain>(&mut chunk) {
                Ok(Progress::More) => {}
                Ok(Progress::Complete) => {
                    hosts.push(talk.request.name.to_string());
                    talk.go_on();
                }
                Err(refusal) => return (hosts, Err(refusal)),
            }
            part = &part[chunk.at as usize..];
        }
    }
    (hosts, Ok(talk.is_stream()))
}

#[test]
fn every_request_is_found_behind_the_body_of_the_one_before() {
    let get = "GET / HTTP/1.1\r\nHost: b\r\n\r\n";
    let rows = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\nHost: a\r\n\r\n", "12345"),
        ("POST / HTTP/1.1\r\nHost: a\r\nCONTENT-LENGTH:\t 012 \r\n\r\n", "GET / HTTP/1"),
        ("PUT / HTTP/1.0\r\nHost: a\r\nContent-Length: 0\r\n\r\n", ""),
        ("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked \r\n\r\n", "0\r\n\r\n"),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "5;x=y\r\n12345\r\n1B\r\nGET / HTTP/1.1\r\nHost: c\r\n\r\n\r\n0\r\nX: y\r\n\r\n",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", ""),
        ("CONNECT a:80 HTTP/1.1\r\n\r\n", ""),
    ];
    for (head, body) in rows {
        for piece in [1, 2, 7, CHUNK_BYTES_MAX] {
            let (found, outcome) = hosts(format!("{head}{body}{get}").as_bytes(), piece);
            assert_eq!((found, outcome), (vec!["a".into(), "b".into()], Ok(false)), "{head}{body}");
        }
    }
}

#[test]
fn a_request_after_connect_is_one_whatever_its_method() {
    for method in ["GET", "get", "_x", "-", "!", "~get", "1"] {
        let text = format!("CONNECT a:80 HTTP/1.1\r\n\r\n{method} / HTTP/1.1\r\nHost: b\r\n\r\n");
        let (found, outcome) = hosts(text.as_bytes(), 7);
        let is_read = found == ["a", "b"] || outcome.is_err();
        assert!(is_read, "{method}: {found:?} {outcome:?}");
    }
    for tunnelled in [&b"\x16\x03\x01"[..], b"\0", b"\xff", b"(x", b" x"] {
        let text = [b"CONNECT a:80 HTTP/1.1\r\n\r\n", tunnelled].concat();
        assert_eq!(hosts(&text, 7), (vec!["a".into()], Ok(true)), "{tunnelled:?}");
    }
}

#[test]
fn what_servers_read_in_different_ways_is_refused() {
    let rows = [
        ("Content-Length: 1\r\nContent-Length: 1\r\n", "x"),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Content-Length: +1\r\n", "x"),
        ("Content-Length: 1 2\r\n", "x"),
        ("Content-Length: 1,1\r\n", "x"),
        ("Content-Length:\r\n", "x"),
        ("Content-Length: 1234567890123456\r\n", "x"),
        ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", " 0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "1\nx\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "1;\nx\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "1\r\nxx\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "g\r\n"),
    ];
    for (fields, body) in rows {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
        for piece in [1, CHUNK_BYTES_MAX] {
            assert_eq!(hosts(text.as_bytes(), piece).1, Err(HttpRefusal::Malformed), "{text}");
        }
    }
}

#[test]
fn only_what_no_server_takes_for_a_request_is_a_stream() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
    let rows = [
        ("\u{1}\u{7f}", Err(HttpRefusal::Malformed)),
        ("\u{16}\u{3}\u{1}", Err(HttpRefusal::Malformed)),
        ("\u{1}", Ok(false)),
        ("GET / HTTP/1.1\r\nHost: b\r\n\r\n", Ok(false)),
        ("\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n", Err(HttpRefusal::NotHttp)),
        ("PRI * HTTP/2.0\r\n\r\n", Err(HttpRefusal::NotHttp)),
    ];
    for (next, expected) in rows {
        let (_, outcome) = hosts(format!("{upgrade}{next}").as_bytes(), 1);
        assert_eq!(outcome, expected, "{next}");
    }
    // A client's frame is masked, as the second byte says.
    for first in [0x81_u8, 0x82, 0x88, 0xc1, 0x01] {
        let frame = [upgrade.as_bytes(), &[first, 0x85, 1, 2, 3, 4]].concat();
        assert_eq!(hosts(&frame, 1).1, Ok(true), "{first:#x}");
    }
    for strange in [[0x83_u8, 0x85], [0x91, 0x85], [0x81, 0x05], [0x80, 0x85]] {
        let bytes = [upgrade.as_bytes(), &strange].concat();
        assert_eq!(hosts(&bytes, 1).1, Err(HttpRefusal::Malformed), "{strange:?}");
    }
    // Without the offer, everything is a request.
    let (_, outcome) = hosts(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x16\x03\x01", 1);
    assert_eq!(outcome, Err(HttpRefusal::NotHttp));
}

proptest! {
    #[test]
    fn the_split_never_matters(
        fields in "(Content-Length: [0-9]{1,2}\r\n|Transfer-Encoding: chunked\r\n|Upgrade: x\r\n){0,2}",
        rest in "([0-3]\r\n[a-c]{0,3}\r\n){0,3}(0\r\n\r\n)?(GET / HTTP/1.1\r\nHost: b\r\n\r\n)?[a-c]{0,5}",
        piece in 1..40_usize,
    ) {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{rest}");
        let expected = hosts(text.as_bytes(), CHUNK_BYTES_MAX);
        prop_assert_eq!(hosts(text.as_bytes(), piece), expected);
    }
}
