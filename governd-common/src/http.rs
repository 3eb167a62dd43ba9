//! The host that the first request of a plaintext HTTP connection names (RFC 9110 section 7.2,
//! RFC 9112 section 3): the Host field, or the target of an absolute-form or CONNECT request.
//!
//! Servers differ in what they make of a request that contradicts itself, so such a request is
//! refused: two Host fields, a Host that is not the target's host, folded or oddly spaced field
//! lines. The whole head is read before a host counts, since a second Host may stand at its end.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    limits::{CHUNK_BYTES_MAX, HELLO_BYTES_MAX},
    name::{Name, fold_case, is_digit},
    repeat::Step,
    stream::{Chunk, Progress},
    verdict::codes,
};

const ROUNDS_MAX: u32 = CHUNK_BYTES_MAX as u32 + 1;
const METHOD_BYTES_MAX: u32 = 16;
const PORT_DIGITS_MAX: u32 = 5;
/// `CONNECT`, as the number that its bytes make.
const CONNECT: u64 = 0x0043_4f4e_4e45_4354;
/// The ends of field names that are looked at, eight bytes each, lower case.
const HOST: u64 = u64::from_be_bytes(*b"\0\0\0\0host");
const UPGRADE: u64 = u64::from_be_bytes(*b"\0upgrade");
const LENGTH: u64 = u64::from_be_bytes(*b"t-length");
const CONTENT: u64 = u64::from_be_bytes(*b"\0\0conten");
const ENCODING: u64 = u64::from_be_bytes(*b"encoding");
const TRANSFER: u64 = u64::from_be_bytes(*b"ransfer-");
const CHUNKED: u64 = u64::from_be_bytes(*b"\0chunked");
/// Digits of a Content-Length that are understood.
const LENGTH_DIGITS_MAX: u32 = 15;

codes! {
    /// Why a request has no host that a rule could speak of.
    HttpRefusal {
        /// The head is whole and names no host.
        NoHost = 1 => "no-host",
        /// Two Host fields, or a Host other than the target's.
        Duplicate = 2 => "duplicate-host",
        /// An address in place of a name.
        Address = 3 => "address-as-host",
        /// A host that no rule could speak of.
        Name = 4 => "bad-host",
        /// The first bytes are not an HTTP/1 request.
        NotHttp = 5 => "not-http",
        /// The head does not end within [`HELLO_BYTES_MAX`].
        TooLong = 6 => "head-too-long",
        /// A line that servers read in different ways.
        Malformed = 7 => "malformed-head",
    }
}

/// Where in the head the next byte stands.
mod place {
    pub(super) const METHOD: u32 = 0;
    pub(super) const TARGET_START: u32 = 1;
    pub(super) const SCHEME: u32 = 2;
    /// The two slashes after the scheme.
    pub(super) const SLASHES: u32 = 3;
    /// A host, in the target or in the field.
    pub(super) const HOST: u32 = 4;
    pub(super) const PORT: u32 = 5;
    /// The rest of the target.
    pub(super) const TARGET: u32 = 6;
    pub(super) const VERSION: u32 = 7;
    pub(super) const LINE_START: u32 = 8;
    pub(super) const FIELD_NAME: u32 = 9;
    /// White space before the host of a Host field.
    pub(super) const FIELD_START: u32 = 10;
    /// White space after it.
    pub(super) const FIELD_END: u32 = 11;
    /// The value of another field.
    pub(super) const FIELD_VALUE: u32 = 12;
    /// After the CR of an empty line.
    pub(super) const HEAD_END: u32 = 13;
    /// After the CR of another line.
    pub(super) const LINE_END: u32 = 14;
    /// The value of Content-Length.
    pub(super) const LENGTH: u32 = 15;
    /// The value of Transfer-Encoding.
    pub(super) const CODING: u32 = 16;
}

/// What was read of a request's head, and the parser's place in it. All zeroes is the beginning.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Request {
    /// The host, complete once [`Request::feed`] says so.
    pub name: Name,
    /// 1 for a CONNECT request: the name is where a proxy is asked to go.
    pub is_connect: u32,
    /// Bytes of the stream that were taken.
    pub taken: u32,
    /// 1 once the target named the host.
    has_target: u32,
    /// Bytes of the body, where a length says so.
    pub(crate) body: u64,
    /// 1 for a body in chunks.
    pub(crate) is_chunked: u32,
    /// 1 if the client offers to speak another protocol after the request.
    pub(crate) is_upgrade: u32,
    /// The last eight bytes of the method or of a field's name, lower case for the latter.
    word: u64,
    /// The eight bytes before them.
    word_before: u64,
    word_len: u32,
    place: u32,
    refusal: u32,
    complete: u32,
    /// Place in `name` up to which a second mention of the host was compared.
    compared: u32,
    port_digits: u32,
    has_host_field: u32,
    /// 1 while the host that is being read is the target's.
    in_target: u32,
    has_length: u32,
    digits: u32,
    /// 1 after white space behind the value that is being read.
    is_over: u32,
    is_old: u32,
}

impl Request {
    /// Takes the chunk. After an error, and after [`Progress::Complete`], there is no more to feed.
    /// Programs feed a [`crate::conversation::Conversation`].
    pub fn feed(&mut self, chunk: &mut Chunk) -> Result<Progress, HttpRefusal> {
        for _ in 0..ROUNDS_MAX {
            if self.step(chunk) == Step::Stop {
                break;
            }
        }
        self.progress()
    }

    #[inline(always)]
    pub(crate) fn refuse(&mut self, refusal: HttpRefusal) -> Step {
        self.refusal = refusal as u32;
        Step::Stop
    }

    #[inline(always)]
    fn to(&mut self, place: u32) -> Step {
        self.place = place;
        Step::Again
    }

    #[inline(always)]
    fn take(&mut self, byte: u8) -> Step {
        self.taken = self.taken.wrapping_add(1);
        if byte == 0 || byte >= 0x80 && self.place <= place::FIELD_NAME {
            return self.refuse_by_place();
        }
        match self.place {
            place::METHOD => self.method_byte(byte),
            place::TARGET_START | place::SCHEME | place::SLASHES => self.target_start_byte(byte),
            place::HOST => self.host_byte(byte),
            place::PORT => self.port_byte(byte),
            place::TARGET => match byte {
                b' ' => self.to(place::VERSION),
                b'\r' | b'\n' => self.refuse(HttpRefusal::NotHttp),
                _ => Step::Again,
            },
            place::VERSION => self.version_byte(byte),
            _ => self.field_byte(byte),
        }
    }

    #[inline(always)]
    fn refuse_by_place(&mut self) -> Step {
        let in_fields = self.place >= place::LINE_START;
        self.refuse(if in_fields { HttpRefusal::Malformed } else { HttpRefusal::NotHttp })
    }

    #[inline(always)]
    fn method_byte(&mut self, byte: u8) -> Step {
        if byte == b' ' && self.word_len != 0 {
            let is_connect = self.word == CONNECT && self.word_len == 7;
            self.is_connect = u32::from(is_connect);
            self.end_word();
            if is_connect {
                self.in_target = 1;
                return self.to(place::HOST);
            }
            return self.to(place::TARGET_START);
        }
        let is_method = byte.wrapping_sub(b'A') < 26 || byte == b'-' || byte == b'_';
        if !is_method || self.word_len >= METHOD_BYTES_MAX {
            return self.refuse(HttpRefusal::NotHttp);
        }
        self.push_word(byte);
        Step::Again
    }

    #[inline(always)]
    fn push_word(&mut self, byte: u8) {
        self.word_before = self.word_before << 8 | self.word >> 56;
        self.word = self.word << 8 | u64::from(byte);
        self.word_len = self.word_len.wrapping_add(1);
    }

    #[inline(always)]
    fn target_start_byte(&mut self, byte: u8) -> Step {
        let lower = fold_case(byte);
        let is_scheme = lower.wrapping_sub(b'a') < 26 || is_digit(byte) || byte == b'+';
        match (self.place, byte) {
            (place::TARGET_START, b'/' | b'*') => self.to(place::TARGET),
            (place::SCHEME, b':') => {
                self.word_len = 0;
                self.to(place::SLASHES)
            }
            (place::SLASHES, b'/') if self.word_len == 0 => {
                self.word_len = 1;
                Step::Again
            }
            (place::SLASHES, b'/') => {
                self.word_len = 0;
                self.in_target = 1;
                self.to(place::HOST)
            }
            (place::TARGET_START | place::SCHEME, _) if is_scheme => self.to(place::SCHEME),
            _ => self.refuse(HttpRefusal::NotHttp),
        }
    }

    #[inline(always)]
    fn host_byte(&mut self, byte: u8) -> Step {
        match byte {
            b':' => {
                self.port_digits = 0;
                self.to(place::PORT)
            }
            b'[' => self.refuse(HttpRefusal::Address),
            b'/' | b'?' | b'#' | b' ' | b'\t' | b'\r' | b'\n' => self.end_host(byte),
            _ if self.has_target != 0 => self.compare_byte(byte),
            _ => match self.name.push(byte) {
                Ok(()) => Step::Again,
                Err(_) => self.refuse(HttpRefusal::Name),
            },
        }
    }

    /// The Host field repeats the target's host.
    #[inline(always)]
    fn compare_byte(&mut self, byte: u8) -> Step {
        let at = self.compared;
        self.compared = at.wrapping_add(1);
        let is_final_dot = byte == b'.' && at == u32::from(self.name.len);
        if is_final_dot || at < u32::from(self.name.len) && self.name.byte(at) == fold_case(byte) {
            return Step::Again;
        }
        self.refuse(HttpRefusal::Duplicate)
    }

    #[inline(always)]
    fn port_byte(&mut self, byte: u8) -> Step {
        if !is_digit(byte) {
            return self.end_host(byte);
        }
        self.port_digits = self.port_digits.wrapping_add(1);
        if self.port_digits > PORT_DIGITS_MAX {
            return self.refuse(HttpRefusal::Malformed);
        }
        Step::Again
    }

    /// The byte after a host and its port.
    #[inline(always)]
    fn end_host(&mut self, byte: u8) -> Step {
        if self.has_target != 0 && self.compared < u32::from(self.name.len) {
            return self.refuse(HttpRefusal::Duplicate);
        }
        if self.name.len == 0 {
            return self.refuse(HttpRefusal::NoHost);
        }
        if self.name.ends_in_number() {
            return self.refuse(HttpRefusal::Address);
        }
        if self.in_target != 0 {
            self.in_target = 0;
            self.has_target = 1;
            return match byte {
                b' ' => self.to(place::VERSION),
                b'/' | b'?' | b'#' if self.is_connect == 0 => self.to(place::TARGET),
                _ => self.refuse(HttpRefusal::NotHttp),
            };
        }
        match byte {
            b' ' | b'\t' => self.to(place::FIELD_END),
            b'\r' => self.to(place::LINE_END),
            b'\n' => self.to(place::LINE_START),
            _ => self.refuse(HttpRefusal::Name),
        }
    }

    /// `HTTP/1.1` and the end of the line; the word keeps the last eight bytes.
    #[inline(always)]
    fn version_byte(&mut self, byte: u8) -> Step {
        match byte {
            b'\r' | b'\n' => {
                let is_http1 = self.word & !0xff == 0x4854_5450_2f31_2e00 && self.word_len == 8;
                self.is_old = u32::from(self.word as u8 != b'1');
                self.end_word();
                if !is_http1 {
                    return self.refuse(HttpRefusal::NotHttp);
                }
                self.to(if byte == b'\r' { place::LINE_END } else { place::LINE_START })
            }
            _ if self.word_len >= 8 => self.refuse(HttpRefusal::NotHttp),
            _ => {
                self.push_word(byte);
                Step::Again
            }
        }
    }

    #[inline(always)]
    fn field_byte(&mut self, byte: u8) -> Step {
        match (self.place, byte) {
            (place::LINE_START, b'\r') => self.to(place::HEAD_END),
            (place::LINE_START, b'\n') | (place::HEAD_END, b'\n') => self.finish(),
            (place::LINE_START | place::FIELD_NAME, _) => self.field_name_byte(byte),
            (place::LINE_END, b'\n') => self.to(place::LINE_START),
            (place::FIELD_START | place::FIELD_END, b' ' | b'\t') => Step::Again,
            (place::FIELD_START, _) => {
                self.place = place::HOST;
                self.host_byte(byte)
            }
            (place::FIELD_END | place::FIELD_VALUE, b'\r') => self.to(place::LINE_END),
            (place::FIELD_END | place::FIELD_VALUE, b'\n') => self.to(place::LINE_START),
            (place::FIELD_VALUE, _) => Step::Again,
            (place::LENGTH, _) => self.length_byte(byte),
            (place::CODING, _) => self.coding_byte(byte),
            _ => self.refuse(HttpRefusal::Malformed),
        }
    }

    /// A byte of a field's name. White space at the start would continue the line before.
    #[inline(always)]
    fn field_name_byte(&mut self, byte: u8) -> Step {
        if byte == b':' && self.word_len != 0 {
            let (word, before, len) = (self.word, self.word_before, self.word_len);
            self.end_word();
            self.is_over = 0;
            match (len, word, before) {
                (4, HOST, 0) => {}
                (7, UPGRADE, 0) => {
                    self.is_upgrade = 1;
                    return self.to(place::FIELD_VALUE);
                }
                (14, LENGTH, CONTENT) => return self.begin_length(),
                (17, ENCODING, TRANSFER) => return self.begin_coding(),
                _ => return self.to(place::FIELD_VALUE),
            }
            if self.has_host_field != 0 {
                return self.refuse(HttpRefusal::Duplicate);
            }
            self.has_host_field = 1;
            return self.to(place::FIELD_START);
        }
        if byte <= b' ' || byte == b':' || byte == 0x7f {
            return self.refuse(HttpRefusal::Malformed);
        }
        self.push_word(fold_case(byte));
        self.to(place::FIELD_NAME)
    }

    #[inline(always)]
    fn end_word(&mut self) {
        self.word = 0;
        self.word_before = 0;
        self.word_len = 0;
    }

    #[inline(always)]
    fn begin_length(&mut self) -> Step {
        if self.has_length != 0 {
            return self.refuse(HttpRefusal::Malformed);
        }
        self.has_length = 1;
        self.to(place::LENGTH)
    }

    #[inline(always)]
    fn begin_coding(&mut self) -> Step {
        if self.is_chunked != 0 {
            return self.refuse(HttpRefusal::Malformed);
        }
        self.is_chunked = 1;
        self.to(place::CODING)
    }

    #[inline(always)]
    fn length_byte(&mut self, byte: u8) -> Step {
        if is_digit(byte) && self.is_over == 0 && self.digits < LENGTH_DIGITS_MAX {
            self.digits = self.digits.wrapping_add(1);
            self.body = self.body.wrapping_mul(10).wrapping_add(u64::from(byte & 0xf));
            return Step::Again;
        }
        self.end_value(byte, self.digits != 0)
    }

    /// Servers read other codings, and lists of them, in different ways.
    #[inline(always)]
    fn coding_byte(&mut self, byte: u8) -> Step {
        let lower = fold_case(byte);
        if lower.wrapping_sub(b'a') < 26 && self.is_over == 0 && self.word_len < 8 {
            self.push_word(lower);
            return Step::Again;
        }
        let is_some = self.word_len != 0;
        if byte == b'\r' || byte == b'\n' {
            let is_chunked = self.word == CHUNKED && self.word_len == 7;
            self.end_word();
            return self.end_value(byte, is_chunked);
        }
        self.end_value(byte, is_some)
    }

    /// A byte that is not part of a value, which is over if something was read of it.
    #[inline(always)]
    fn end_value(&mut self, byte: u8, is_some: bool) -> Step {
        match byte {
            b' ' | b'\t' => {
                self.is_over |= u32::from(is_some);
                Step::Again
            }
            b'\r' if is_some => self.to(place::LINE_END),
            b'\n' if is_some => self.to(place::LINE_START),
            _ => self.refuse(HttpRefusal::Malformed),
        }
    }

    #[inline(always)]
    fn finish(&mut self) -> Step {
        // Where the body ends would be a matter of taste.
        if self.is_chunked & (self.has_length | self.is_old) != 0 {
            return self.refuse(HttpRefusal::Malformed);
        }
        if self.has_host_field | self.has_target == 0 {
            return self.refuse(HttpRefusal::NoHost);
        }
        self.complete = 1;
        Step::Stop
    }
}

impl Request {
    /// Forgets the request. Field by field: a whole one does not fit on a program's stack.
    #[inline(always)]
    pub(crate) fn begin_again(&mut self) {
        self.name.clear();
        (self.is_connect, self.taken, self.has_target) = (0, 0, 0);
        (self.body, self.is_chunked, self.is_upgrade) = (0, 0, 0);
        self.end_word();
        (self.place, self.refusal, self.complete) = (0, 0, 0);
        (self.compared, self.port_digits, self.has_host_field) = (0, 0, 0);
        (self.in_target, self.has_length, self.digits) = (0, 0, 0);
        (self.is_over, self.is_old) = (0, 0);
    }

    /// Takes a byte where there is one, and nothing after the end.
    #[inline(always)]
    pub(crate) fn step(&mut self, chunk: &mut Chunk) -> Step {
        let is_over = self.complete | self.refusal != 0 || self.taken >= HELLO_BYTES_MAX as u32;
        if chunk.left() == 0 || is_over {
            return Step::Stop;
        }
        let byte = chunk.take();
        self.take(byte)
    }

    /// How far it came; what [`Request::feed`] answers.
    #[inline(always)]
    pub(crate) fn progress(&self) -> Result<Progress, HttpRefusal> {
        if let Some(refusal) = HttpRefusal::from_byte(self.refusal as u8) {
            return Err(refusal);
        }
        if self.complete != 0 {
            return Ok(Progress::Complete);
        }
        if self.taken >= HELLO_BYTES_MAX as u32 {
            return Err(HttpRefusal::TooLong);
        }
        Ok(Progress::More)
    }
}
