//! The ClientHello at the beginning of a connection: its server name, the first protocols of its
//! ALPN list and whether it carries ECH (RFC 8446 section 4.1.2, RFC 6066 section 3, RFC 7301,
//! RFC 9849).
//!
//! The stream may be cut anywhere, into segments as into records, so the state keeps its place to
//! the byte. What no rule looks at (random, key shares, tickets) is passed over without a look.
//! A hello counts only when all of it has been read: a second name may stand at its very end.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::{
    index::masked,
    limits::{ALPN_BYTES_MAX, CHUNK_BYTES_MAX, EARLY_DATA_BYTES_MAX, HELLO_BYTES_MAX},
    name::{Name, NameError},
    repeat::{Repeat, Step},
    stream::{Chunk, Progress},
    verdict::codes,
};

mod another;
mod rounds;
use another::later;
use rounds::{Feed, FeedByte};

const RECORD_HANDSHAKE: u32 = 22;
/// 3.0 is SSL 3, 3.4 is TLS 1.3; what comes later still says 3.1 or 3.3 here.
const VERSION_MAJOR: u8 = 3;
const VERSION_MINOR_MAX: u8 = 4;
const RECORD_BYTES_MAX: u32 = 16_384;
const HANDSHAKE_CLIENT_HELLO: u32 = 1;
const EXTENSION_SERVER_NAME: u32 = 0;
const EXTENSION_ALPN: u32 = 16;
const EXTENSION_EARLY_DATA: u32 = 42;
const EXTENSION_ECH: u32 = 0xfe0d;
const NAME_TYPE_HOST: u32 = 0;
const RANDOM_BYTES: u32 = 32;
const SESSION_ID_BYTES_MAX: u32 = 32;
const ALPN_MASK: u32 = ALPN_BYTES_MAX as u32 - 1;
/// Each round takes a byte or leaves the loop.
const ROUNDS_MAX: u32 = CHUNK_BYTES_MAX as u32 + 1;

codes! {
    /// Why a connection has no server name that a rule could speak of.
    TlsRefusal {
        /// The hello is whole and names no server.
        NoName = 1 => "no-name",
        /// More than one server name.
        Duplicate = 2 => "duplicate-name",
        /// An IPv4 address, or what a client could take for one, where RFC 6066 section 3 wants a
        /// name; the rest of the hello is well formed.
        Address = 3 => "address-as-name",
        /// A byte above 0x7f in the name.
        NonAscii = 4 => "non-ascii-name",
        /// A name or label that is longer than DNS allows.
        NameTooLong = 5 => "name-too-long",
        /// A NUL in the name.
        Nul = 6 => "nul-in-name",
        /// Another byte that no host name holds, an empty name or an empty label.
        Name = 7 => "bad-name",
        /// The first bytes are not a TLS handshake.
        NotTls = 8 => "not-tls",
        /// The hello does not end within [`HELLO_BYTES_MAX`].
        TooLong = 9 => "hello-too-long",
        /// Lengths that contradict each other.
        Malformed = 10 => "malformed-hello",
    }
}

/// What the next gathered number is.
mod field {
    pub(super) const MESSAGE_TYPE: u32 = 0;
    pub(super) const MESSAGE_LEN: u32 = 1;
    pub(super) const VERSION: u32 = 2;
    pub(super) const SESSION_ID_LEN: u32 = 3;
    pub(super) const CIPHERS_LEN: u32 = 4;
    pub(super) const COMPRESSIONS_LEN: u32 = 5;
    pub(super) const EXTENSIONS_LEN: u32 = 6;
    pub(super) const EXTENSION_TYPE: u32 = 7;
    pub(super) const EXTENSION_LEN: u32 = 8;
    pub(super) const NAMES_LEN: u32 = 9;
    pub(super) const NAME_TYPE: u32 = 10;
    pub(super) const NAME_LEN: u32 = 11;
    /// The bytes of the name, one by one.
    pub(super) const NAME: u32 = 12;
    pub(super) const PROTOCOLS_LEN: u32 = 13;
    /// The ALPN list, byte by byte, as far as it is kept.
    pub(super) const PROTOCOLS: u32 = 14;
}

/// What was read of a hello, and the parser's place in it. All zeroes is the beginning.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Hello {
    /// The server name, complete once [`Hello::feed`] says so.
    pub name: Name,
    /// The beginning of the ALPN list as sent: each protocol after its length in one byte.
    pub alpn: [u8; ALPN_BYTES_MAX],
    /// Bytes of `alpn` in use; the last protocol may be cut.
    pub alpn_len: u32,
    /// 1 if the hello carries an `encrypted_client_hello` extension.
    pub has_ech: u32,
    /// Bytes of the stream that were taken.
    pub taken: u32,
    refusal: u32,
    complete: u32,
    record_left: u32,
    record_gathered: u32,
    record_value: u32,
    field: u32,
    gathered: u32,
    value: u32,
    skip: u32,
    has_name: u32,
    has_hello: u32,
    /// Bytes of the message, of its extensions, and of the present extension that are to come.
    message_left: u32,
    extensions_left: u32,
    extension_left: u32,
    extension_type: u32,
    /// A state of [`another::later`].
    later: u32,
    /// Bytes of early data that may still come before another hello.
    early_left: u32,
}

impl Hello {
    /// The beginning of a hello that comes without records, as in QUIC (RFC 9001 section 4).
    pub fn without_records() -> Self {
        Self { record_left: u32::MAX, ..Self::new_zeroed() }
    }

    /// Forgets what was read. Field by field: a whole hello does not fit on a program's stack.
    #[inline(always)]
    pub fn begin_again(&mut self) {
        self.name.clear();
        (self.alpn_len, self.has_ech, self.taken) = (0, 0, 0);
        (self.refusal, self.complete) = (0, 0);
        (self.record_left, self.record_gathered, self.record_value) = (0, 0, 0);
        (self.field, self.gathered, self.value, self.skip) = (0, 0, 0, 0);
        (self.has_name, self.has_hello, self.message_left) = (0, 0, 0);
        (self.extensions_left, self.extension_left, self.extension_type) = (0, 0, 0);
        (self.later, self.early_left) = (later::FIRST, 0);
    }

    /// Takes the chunk. After an error, and after [`Progress::Complete`], there is no more to feed.
    #[inline(always)]
    pub fn feed<R: Repeat>(&mut self, chunk: &mut Chunk) -> Result<Progress, TlsRefusal> {
        R::repeat::<_, FeedByte>(ROUNDS_MAX, &mut Feed { hello: &mut *self, chunk });
        if let Some(refusal) = TlsRefusal::from_byte(self.refusal as u8) {
            return Err(refusal);
        }
        if self.complete != 0 {
            return Ok(Progress::Complete);
        }
        if self.taken >= HELLO_BYTES_MAX as u32 {
            return Err(TlsRefusal::TooLong);
        }
        Ok(Progress::More)
    }

    /// Takes up to `available` bytes that nobody needs to look at, and returns how many: the caller
    /// may leave as many out of the next chunk.
    #[inline(always)]
    pub fn pass(&mut self, available: u32) -> u32 {
        let mut bytes = if self.skip < self.record_left { self.skip } else { self.record_left };
        let is_inside = self.has_hello != 0 && bytes < self.message_left;
        if !is_inside && self.later != later::PASSING {
            return 0;
        }
        if bytes > available {
            bytes = available;
        }
        self.skip(bytes);
        bytes
    }

    #[inline(always)]
    fn skip(&mut self, bytes: u32) {
        self.skip = self.skip.wrapping_sub(bytes);
        self.account(bytes);
    }

    #[inline(always)]
    fn account(&mut self, bytes: u32) {
        if self.later != later::PASSING {
            self.taken = self.taken.wrapping_add(bytes);
        }
        self.record_left = self.record_left.wrapping_sub(bytes);
        if self.has_hello != 0 {
            self.message_left = self.message_left.wrapping_sub(bytes);
        }
    }

    #[inline(always)]
    fn refuse(&mut self, refusal: TlsRefusal) -> Step {
        self.refusal = refusal as u32;
        Step::Stop
    }

    /// A byte of a record's header: type, version, length (RFC 8446 section 5.1).
    #[inline(always)]
    fn record_byte(&mut self, byte: u8) -> Step {
        if self.is_another() && self.has_hello == 0 {
            return self.later_record_byte(byte);
        }
        self.taken = self.taken.wrapping_add(1);
        self.record_value = self.record_value << 8 | u32::from(byte);
        self.record_gathered = self.record_gathered.wrapping_add(1);
        let is_first = self.has_hello == 0;
        match self.record_gathered {
            1 if u32::from(byte) != RECORD_HANDSHAKE => {
                self.refuse(if is_first { TlsRefusal::NotTls } else { TlsRefusal::Malformed })
            }
            2 if byte != VERSION_MAJOR => self.refuse(TlsRefusal::NotTls),
            3 if byte > VERSION_MINOR_MAX => self.refuse(TlsRefusal::NotTls),
            5 => {
                self.record_left = self.record_value & 0xffff;
                self.record_gathered = 0;
                if self.record_left == 0 || self.record_left > RECORD_BYTES_MAX {
                    return self.refuse(TlsRefusal::NotTls);
                }
                Step::Again
            }
            _ => Step::Again,
        }
    }

    #[inline(always)]
    fn message_byte(&mut self, byte: u8) -> Step {
        match self.field {
            field::NAME => self.name_byte(byte),
            field::PROTOCOLS => {
                if let Some(place) = self.alpn.get_mut(masked(self.alpn_len, ALPN_MASK)) {
                    *place = byte;
                }
                self.alpn_len = self.alpn_len.wrapping_add(1);
                self.extension_left = self.extension_left.wrapping_sub(1);
                if self.extension_left == 0 || self.alpn_len >= ALPN_BYTES_MAX as u32 {
                    return self.end_extension();
                }
                Step::Again
            }
            _ => {
                self.value = self.value << 8 | u32::from(byte);
                self.gathered = self.gathered.wrapping_add(1);
                if self.gathered < field_bytes(self.field) {
                    return Step::Again;
                }
                let value = self.value;
                self.gathered = 0;
                self.value = 0;
                if self.field < field::EXTENSION_TYPE {
                    self.head_field(value)
                } else {
                    self.extension_field(value)
                }
            }
        }
    }

    /// A field before the extensions.
    #[inline(always)]
    fn head_field(&mut self, value: u32) -> Step {
        let (next, skip) = match self.field {
            field::MESSAGE_TYPE if value != HANDSHAKE_CLIENT_HELLO => {
                return self.refuse(TlsRefusal::NotTls);
            }
            field::MESSAGE_TYPE => (field::MESSAGE_LEN, 0),
            field::MESSAGE_LEN => {
                // Of what may be encrypted, it says nothing yet.
                if value > HELLO_BYTES_MAX as u32 && !self.is_another() {
                    return self.refuse(TlsRefusal::TooLong);
                }
                if value == 0 {
                    return self.refuse(TlsRefusal::Malformed);
                }
                self.has_hello = 1;
                self.message_left = value;
                (field::VERSION, 0)
            }
            field::VERSION if value >> 8 != u32::from(VERSION_MAJOR) => {
                return self.refuse(TlsRefusal::NotTls);
            }
            field::VERSION => (field::SESSION_ID_LEN, RANDOM_BYTES),
            field::SESSION_ID_LEN if value > SESSION_ID_BYTES_MAX => {
                let is_another = self.is_another();
                return self.refuse(if is_another {
                    TlsRefusal::NotTls
                } else {
                    TlsRefusal::Malformed
                });
            }
            field::SESSION_ID_LEN if self.message_left > HELLO_BYTES_MAX as u32 => {
                return self.refuse(TlsRefusal::TooLong);
            }
            field::SESSION_ID_LEN => (field::CIPHERS_LEN, value),
            field::CIPHERS_LEN => (field::COMPRESSIONS_LEN, value),
            field::COMPRESSIONS_LEN => (field::EXTENSIONS_LEN, value),
            _ => {
                if value != self.message_left {
                    return self.refuse(TlsRefusal::Malformed);
                }
                self.extensions_left = value;
                (field::EXTENSION_TYPE, 0)
            }
        };
        self.expect(next, skip)
    }

    /// A field of the extensions. Lengths are checked against what encloses them.
    #[inline(always)]
    fn extension_field(&mut self, value: u32) -> Step {
        match self.field {
            field::EXTENSION_TYPE => {
                self.extension_type = value;
                self.expect(field::EXTENSION_LEN, 0)
            }
            field::EXTENSION_LEN => {
                if value + 4 > self.extensions_left {
                    return self.refuse(TlsRefusal::Malformed);
                }
                self.extensions_left = self.extensions_left.wrapping_sub(value + 4);
                self.extension_left = value;
                self.begin_extension()
            }
            field::NAMES_LEN | field::PROTOCOLS_LEN => {
                self.extension_left = self.extension_left.wrapping_sub(2);
                if value != self.extension_left || value == 0 {
                    return self.refuse(TlsRefusal::Malformed);
                }
                let is_names = self.field == field::NAMES_LEN;
                self.expect(if is_names { field::NAME_TYPE } else { field::PROTOCOLS }, 0)
            }
            field::NAME_TYPE => {
                self.extension_left = self.extension_left.wrapping_sub(1);
                if value != NAME_TYPE_HOST {
                    return self.refuse(TlsRefusal::Malformed);
                }
                self.expect(field::NAME_LEN, 0)
            }
            _ => {
                if self.extension_left < 2 || value > self.extension_left - 2 {
                    return self.refuse(TlsRefusal::Malformed);
                }
                if value == 0 {
                    return self.refuse(TlsRefusal::Name);
                }
                self.extension_left -= 2;
                if value < self.extension_left {
                    return self.refuse(TlsRefusal::Duplicate);
                }
                self.expect(field::NAME, 0)
            }
        }
    }

    #[inline(always)]
    fn begin_extension(&mut self) -> Step {
        match self.extension_type {
            EXTENSION_SERVER_NAME => {
                if self.has_name != 0 {
                    return self.refuse(TlsRefusal::Duplicate);
                }
                self.has_name = 1;
                if self.extension_left < 2 {
                    return self.refuse(TlsRefusal::Malformed);
                }
                self.expect(field::NAMES_LEN, 0)
            }
            EXTENSION_ALPN if self.alpn_len == 0 && self.extension_left > 2 => {
                self.expect(field::PROTOCOLS_LEN, 0)
            }
            EXTENSION_ECH => {
                self.has_ech = 1;
                self.end_extension()
            }
            EXTENSION_EARLY_DATA => {
                self.early_left = EARLY_DATA_BYTES_MAX;
                self.end_extension()
            }
            _ => self.end_extension(),
        }
    }

    #[inline(always)]
    fn end_extension(&mut self) -> Step {
        let rest = self.extension_left;
        self.extension_left = 0;
        self.expect(field::EXTENSION_TYPE, rest)
    }

    #[inline(always)]
    fn name_byte(&mut self, byte: u8) -> Step {
        if let Err(error) = self.name.push(byte) {
            return self.refuse(name_refusal(error, byte));
        }
        self.extension_left = self.extension_left.wrapping_sub(1);
        if self.extension_left != 0 {
            return Step::Again;
        }
        self.end_extension()
    }

    /// Sets what comes next, after `skip` bytes that stay inside the message.
    #[inline(always)]
    fn expect(&mut self, next: u32, skip: u32) -> Step {
        if self.has_hello != 0 && skip > self.message_left {
            return self.refuse(TlsRefusal::Malformed);
        }
        self.field = next;
        self.skip = skip;
        Step::Again
    }

    /// Called when the message's last byte was taken.
    #[inline(always)]
    fn finish(&mut self) -> Step {
        let at_boundary = self.gathered == 0 && self.skip == 0 && self.extensions_left == 0;
        let is_whole = match self.field {
            field::EXTENSIONS_LEN | field::EXTENSION_TYPE => at_boundary,
            _ => false,
        };
        if !is_whole {
            return self.refuse(TlsRefusal::Malformed);
        }
        if self.has_name == 0 {
            return self.refuse(TlsRefusal::NoName);
        }
        if self.name.ends_in_number() {
            return self.refuse(TlsRefusal::Address);
        }
        self.complete = 1;
        Step::Stop
    }
}

/// Bytes of the number that a field is.
#[inline(always)]
fn field_bytes(field: u32) -> u32 {
    match field {
        field::MESSAGE_TYPE
        | field::SESSION_ID_LEN
        | field::COMPRESSIONS_LEN
        | field::NAME_TYPE => 1,
        field::MESSAGE_LEN => 3,
        _ => 2,
    }
}

#[inline(always)]
fn name_refusal(error: NameError, byte: u8) -> TlsRefusal {
    match error {
        NameError::TooLong | NameError::LabelTooLong => TlsRefusal::NameTooLong,
        NameError::Byte if byte == 0 => TlsRefusal::Nul,
        NameError::Byte if byte >= 0x80 => TlsRefusal::NonAscii,
        NameError::Byte | NameError::Empty | NameError::EmptyLabel => TlsRefusal::Name,
    }
}
