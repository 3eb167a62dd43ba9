//! The reader of HTTP request heads, against written rows and in every split.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, as the test itself does"
)]

use governd_common::{
    http::{HttpRefusal, Request},
    limits::{CHUNK_BYTES_MAX, HELLO_BYTES_MAX},
    stream::{Chunk, Progress},
};
use proptest::prelude::*;
use zerocopy::FromZeros;

fn feed(bytes: &[u8], piece: usize) -> (Request, Result<Progress, HttpRefusal>) {
    let mut request = Request::new_zeroed();
    let mut outcome = Ok(Progress::More);
    for part in bytes.chunks(piece.clamp(1, CHUNK_BYTES_MAX)) {
        let mut chunk = Chunk::new_zeroed();
        chunk.bytes[..part.len()].copy_from_slice(part);
        chunk.len = u32::try_from(part.len()).unwrap();
        outcome = request.feed(&mut chunk);
        if outcome != Ok(Progress::More) {
            break;
        }
    }
    (request, outcome)
}

fn host(head: &str) -> Result<String, HttpRefusal> {
    let (request, outcome) = feed(head.as_bytes(), CHUNK_BYTES_MAX);
    assert_eq!(outcome?, Progress::Complete, "{head}");
    Ok(request.name.to_string())
}

#[test]
fn the_host_is_found_where_requests_name_it() {
    let rows = [
        ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\nhost:A.Example:8080\n\n", "a.example"),
        (
            "POST /x?y=http://b.example HTTP/1.0\r\nX: y\r\nHOST:\t a.example. \t\r\n\r\n",
            "a.example",
        ),
        ("OPTIONS * HTTP/1.1\r\nX-Host: b.example\r\nHost: a.example\r\n\r\n", "a.example"),
        ("GET http://a.example/b HTTP/1.1\r\nHost: A.EXAMPLE\r\n\r\n", "a.example"),
        ("GET http://a.example HTTP/1.1\r\n\r\n", "a.example"),
        ("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", "a.example"),
        (
            "GET / HTTP/1.1\r\nA: 1\r\nHosts: c\r\nHost: a.example\r\nB: \"é\"\r\n\r\nrest",
            "a.example",
        ),
    ];
    for (head, name) in rows {
        assert_eq!(host(head).as_deref(), Ok(name), "{head}");
    }
}

#[test]
fn what_does_not_count_is_refused_with_its_reason() {
    let rows = [
        ("GET / HTTP/1.1\r\nX: y\r\n\r\n", HttpRefusal::NoHost),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", HttpRefusal::NoHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HttpRefusal::Duplicate),
        ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", HttpRefusal::Duplicate),
        ("GET http://a/ HTTP/1.1\r\nHost: ab\r\n\r\n", HttpRefusal::Duplicate),
        ("GET http://ab/ HTTP/1.1\r\nHost: a\r\n\r\n", HttpRefusal::Duplicate),
        ("CONNECT a:1 HTTP/1.1\r\nHost: b:1\r\n\r\n", HttpRefusal::Duplicate),
        ("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", HttpRefusal::Address),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n", HttpRefusal::Address),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", HttpRefusal::Name),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HttpRefusal::Name),
        ("GET http://u:p@a/ HTTP/1.1\r\n\r\n", HttpRefusal::NotHttp),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", HttpRefusal::Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", HttpRefusal::Malformed),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HttpRefusal::Malformed),
        ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", HttpRefusal::Malformed),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", HttpRefusal::Malformed),
        ("GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", HttpRefusal::Malformed),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", HttpRefusal::NotHttp),
        ("GET /\r\nHost: a\r\n\r\n", HttpRefusal::NotHttp),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HttpRefusal::NotHttp),
        ("get / HTTP/1.1\r\nHost: a\r\n\r\n", HttpRefusal::NotHttp),
        ("\x16\x03\x01", HttpRefusal::NotHttp),
        ("GET a.example/ HTTP/1.1\r\n\r\n", HttpRefusal::NotHttp),
    ];
    for (head, refusal) in rows {
        assert_eq!(host(head), Err(refusal), "{head}");
    }
}

#[test]
fn a_head_that_does_not_end_in_time_is_too_long() {
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(HELLO_BYTES_MAX));
    assert_eq!(host(&head), Err(HttpRefusal::TooLong));
}

#[test]
fn connect_is_told_apart() {
    let (request, _) = feed(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n", 1);
    assert_eq!(request.is_connect, 1);
    let (request, _) = feed(b"CONNECTS /a HTTP/1.1\r\nHost: a\r\n\r\n", 1);
    assert_eq!(request.is_connect, 0);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (request, _) = feed(&bytes, CHUNK_BYTES_MAX);
        prop_assert!(request.taken as usize <= bytes.len());
    }

    #[test]
    fn the_split_never_matters(
        target in "(/|http://[a-c.]{1,4}(:1)?)[a-c/]{0,3}", fields in "([A-Ca-c]{1,2}: [ -~]{0,9}\r?\n){0,2}",
        host in "(Host ?: ?[a-c.:1]{0,4} ?\r?\n){0,2}", piece in 1..40_usize,
    ) {
        let head = format!("GET {target} HTTP/1.1\r\n{fields}{host}\r\n");
        let (whole, expected) = feed(head.as_bytes(), CHUNK_BYTES_MAX);
        let (split, outcome) = feed(head.as_bytes(), piece);
        prop_assert_eq!(expected, outcome);
        prop_assert_eq!(whole.name.as_str(), split.name.as_str());
    }
}
