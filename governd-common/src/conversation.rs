//! All that a client says on a plaintext HTTP/1 connection: one request after the other.
//!
//! Each request names a host of its own, so what lies between two heads has to be followed to the
//! byte: bodies by their length (RFC 9112 section 6.2) or in chunks (section 7.1). Where servers
//! differ in what they take for the end of a body, the connection is refused; a server that read it
//! otherwise would see a request that nobody judged.
//!
//! After CONNECT, and where the client offers another protocol, the server may or may not agree.
//! What follows is either bytes that no server takes for a request, and then not read any more, or
//! the next request. Of protocols that are offered only WebSocket (RFC 6455) is let begin, by the
//! first two bytes of a client's frame: HTTP/2 would name further hosts, and of others nobody knows
//! what they do.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    http::{HttpRefusal, Request},
    limits::CHUNK_BYTES_MAX,
    name::{fold_case, is_digit},
    repeat::{Loop, Repeat, Step, Work},
    stream::{Chunk, Progress},
};

const ROUNDS_MAX: u32 = CHUNK_BYTES_MAX as u32 + 1;
/// Digits of a chunk's size that are understood.
const SIZE_DIGITS_MAX: u32 = 12;
/// Longest line of a chunk's size or of a trailer, in bytes.
const LINE_BYTES_MAX: u32 = 4_096;

/// Where in the conversation the next byte stands.
mod place {
    /// In a request's head, which [`super::Request`] reads.
    pub(super) const HEAD: u32 = 0;
    /// In `left` bytes of a body.
    pub(super) const BODY: u32 = 1;
    pub(super) const SIZE: u32 = 2;
    /// What may follow a chunk's size on its line.
    pub(super) const EXTENSION: u32 = 3;
    pub(super) const SIZE_END: u32 = 4;
    /// In `left` bytes of a chunk.
    pub(super) const DATA: u32 = 5;
    pub(super) const DATA_CR: u32 = 6;
    pub(super) const DATA_END: u32 = 7;
    pub(super) const TRAILER_START: u32 = 8;
    pub(super) const TRAILER: u32 = 9;
    pub(super) const TRAILER_END: u32 = 10;
    /// After the CR of the empty line.
    pub(super) const LAST_END: u32 = 11;
    /// Where the server may have agreed to speak something else.
    pub(super) const PERHAPS: u32 = 12;
    /// Something else is spoken.
    pub(super) const STREAM: u32 = 13;
    /// In the second byte of what may be a WebSocket's first frame.
    pub(super) const FRAME: u32 = 14;
}

/// The present request, and the place in what follows it. All zeroes is the beginning.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Conversation {
    /// The request that was read last.
    pub request: Request,
    /// Bytes of the body or chunk that are to come.
    left: u64,
    place: u32,
    digits: u32,
    line: u32,
    refusal: u32,
}

impl Conversation {
    /// Takes the chunk, up to the end of the next head: then it is [`Progress::Complete`], and
    /// [`Conversation::go_on`] has to be called before there is more to feed.
    #[inline(always)]
    pub fn feed<R: Repeat>(&mut self, chunk: &mut Chunk) -> Result<Progress, HttpRefusal> {
        R::repeat::<_, FeedByte>(ROUNDS_MAX, &mut Feed { talk: &mut *self, chunk });
        if self.refusal != 0 {
            return Err(HttpRefusal::Malformed);
        }
        if self.place == place::HEAD { self.request.progress() } else { Ok(Progress::More) }
    }

    /// One round of the loop over the chunk, for who cannot hand on a [`Work`].
    #[inline(always)]
    pub fn round(&mut self, chunk: &mut Chunk) -> Step {
        FeedByte::step(0, &mut Feed { talk: self, chunk })
    }

    /// Forgets what was read.
    #[inline(always)]
    pub fn begin_again(&mut self) {
        self.begin(place::HEAD);
        (self.left, self.digits, self.line, self.refusal) = (0, 0, 0, 0);
    }

    /// From the end of a head to what follows it.
    #[inline(always)]
    pub fn go_on(&mut self) {
        self.left = self.request.body;
        self.digits = 0;
        self.line = 0;
        if self.request.is_connect != 0 {
            self.place = place::PERHAPS;
        } else if self.request.is_chunked != 0 {
            self.place = place::SIZE;
            self.left = 0;
        } else if self.left != 0 {
            self.place = place::BODY;
        } else {
            self.end_body();
        }
    }

    /// True once what follows is no HTTP any more.
    #[inline(always)]
    pub fn is_stream(&self) -> bool {
        self.place == place::STREAM
    }

    /// True while some bytes of a head were read, and not all.
    #[inline(always)]
    pub fn is_in_head(&self) -> bool {
        self.place == place::HEAD && self.request.taken != 0
    }

    /// Takes up to `available` bytes of a body, and returns how many: the caller may leave as many
    /// out of the next chunk.
    #[inline(always)]
    pub fn pass(&mut self, available: u32) -> u32 {
        let is_body = self.place == place::BODY || self.place == place::DATA;
        if !is_body || self.left <= 1 {
            return 0;
        }
        // The last byte is left to the loop, which knows what comes then.
        let most = self.left - 1;
        let bytes = if most < u64::from(available) { most as u32 } else { available };
        self.left = self.left.wrapping_sub(u64::from(bytes));
        bytes
    }

    #[inline(always)]
    fn end_body(&mut self) {
        let is_upgrade = self.request.is_upgrade != 0;
        self.begin(if is_upgrade { place::PERHAPS } else { place::HEAD });
    }

    #[inline(always)]
    fn begin(&mut self, place: u32) {
        self.place = place;
        if place == place::HEAD {
            self.request.begin_again();
        }
    }

    #[inline(always)]
    fn to(&mut self, place: u32) -> Step {
        self.place = place;
        Step::Again
    }

    #[inline(always)]
    fn refuse(&mut self) -> Step {
        self.refusal = 1;
        Step::Stop
    }

    /// A byte of what is neither head nor the start of another protocol.
    #[inline(always)]
    fn body_byte(&mut self, byte: u8) -> Step {
        match (self.place, byte) {
            (place::BODY | place::DATA, _) => {
                self.left = self.left.wrapping_sub(1);
                if self.left != 0 {
                    return Step::Again;
                }
                if self.place == place::DATA {
                    return self.to(place::DATA_CR);
                }
                self.end_body();
                Step::Again
            }
            (place::SIZE, _) => self.size_byte(byte),
            (place::EXTENSION, b'\r') => self.to(place::SIZE_END),
            (place::SIZE_END, b'\n') => self.begin_chunk(),
            (place::DATA_CR, b'\r') => self.to(place::DATA_END),
            (place::DATA_END, b'\n') => {
                self.digits = 0;
                self.line = 0;
                self.to(place::SIZE)
            }
            (place::TRAILER_START, b'\r') => self.to(place::LAST_END),
            (place::TRAILER, b'\r') => self.to(place::TRAILER_END),
            (place::TRAILER_END, b'\n') => self.to(place::TRAILER_START),
            (place::LAST_END, b'\n') => {
                self.end_body();
                Step::Again
            }
            (place::EXTENSION | place::TRAILER_START | place::TRAILER, _) => self.line_byte(byte),
            _ => self.refuse(),
        }
    }

    #[inline(always)]
    fn line_byte(&mut self, byte: u8) -> Step {
        self.line = self.line.wrapping_add(1);
        if byte == b'\n' || self.line > LINE_BYTES_MAX {
            return self.refuse();
        }
        let is_trailer = self.place == place::TRAILER_START;
        if is_trailer { self.to(place::TRAILER) } else { Step::Again }
    }

    #[inline(always)]
    fn size_byte(&mut self, byte: u8) -> Step {
        let lower = fold_case(byte);
        let is_letter = lower.wrapping_sub(b'a') < 6;
        if (is_digit(byte) || is_letter) && self.digits < SIZE_DIGITS_MAX {
            let value = if is_letter { lower.wrapping_sub(b'a' - 10) } else { byte & 0xf };
            self.left = self.left << 4 | u64::from(value);
            self.digits = self.digits.wrapping_add(1);
            return Step::Again;
        }
        match byte {
            b'\r' if self.digits != 0 => self.to(place::SIZE_END),
            b';' if self.digits != 0 => self.to(place::EXTENSION),
            _ => self.refuse(),
        }
    }

    #[inline(always)]
    fn begin_chunk(&mut self) -> Step {
        let is_last = self.left == 0;
        self.line = 0;
        self.to(if is_last { place::TRAILER_START } else { place::DATA })
    }

    /// The first byte after the server may have changed the protocol. Servers pass over empty lines
    /// before a request (RFC 9112 section 2.2), so those begin one, and some take any token for a
    /// method (RFC 9110 section 9.1).
    #[inline(always)]
    fn perhaps_byte(&mut self, chunk: &mut Chunk) -> Step {
        let byte = chunk.take();
        if begins_method(byte) || byte == b'\r' || byte == b'\n' {
            chunk.at = chunk.at.wrapping_sub(1);
            self.begin(place::HEAD);
            return Step::Again;
        }
        if self.request.is_connect != 0 {
            self.place = place::STREAM;
            return Step::Stop;
        }
        if begins_frame(byte) { self.to(place::FRAME) } else { self.refuse() }
    }

    /// A client's frames are masked, which their second byte says (RFC 6455 section 5.2).
    #[inline(always)]
    fn frame_byte(&mut self, byte: u8) -> Step {
        if byte & 0x80 == 0 {
            return self.refuse();
        }
        self.place = place::STREAM;
        Step::Stop
    }
}

/// Whether a token may begin with the byte (RFC 9110 section 5.6.2).
#[inline(always)]
fn begins_method(byte: u8) -> bool {
    let is_printed = byte > b' ' && byte < 0x7f;
    let is_separator = matches!(byte, b'"' | b'(' | b')' | b',' | b'/' | b'{' | b'}')
        || matches!(byte, b':'..=b'@' | b'['..=b']');
    is_printed && !is_separator
}

/// The first byte of a frame: what is reserved but for compression (RFC 7692) is zero, and the
/// frame is text, binary, a ping or the end.
#[inline(always)]
fn begins_frame(byte: u8) -> bool {
    let opcode = byte & 0xf;
    byte & 0x30 == 0 && (opcode == 1 || opcode == 2 || (8..=10).contains(&opcode))
}

struct Feed<'a> {
    talk: &'a mut Conversation,
    chunk: &'a mut Chunk,
}

struct FeedByte;

impl Work<Feed<'_>> for FeedByte {
    #[inline(always)]
    fn of(_: &Feed<'_>) -> Loop {
        Loop::Conversation
    }

    #[inline(always)]
    fn step(_index: u32, feed: &mut Feed<'_>) -> Step {
        let Feed { talk, chunk } = feed;
        if talk.place == place::HEAD {
            return talk.request.step(chunk);
        }
        if chunk.left() == 0 || talk.place == place::STREAM || talk.refusal != 0 {
            return Step::Stop;
        }
        if talk.place == place::PERHAPS {
            return talk.perhaps_byte(chunk);
        }
        if talk.place == place::FRAME {
            let byte = chunk.take();
            return talk.frame_byte(byte);
        }
        let passed = talk.pass(chunk.left());
        if passed != 0 {
            chunk.at = chunk.at.wrapping_add(passed);
            return Step::Again;
        }
        let byte = chunk.take();
        talk.body_byte(byte)
    }
}
