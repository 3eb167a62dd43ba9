//! pcap and pcapng files, frame by frame (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng).

use std::io::{ErrorKind, Read};

use super::CaptureError;

/// Longest frame that is read (libpcap's `MAXIMUM_SNAPLEN`), in bytes.
const FRAME_BYTES_MAX: usize = 262_144;
/// Longest pcapng block: a frame and its options.
const BLOCK_BYTES_MAX: usize = FRAME_BYTES_MAX + 1_048_576;
/// Interfaces of one pcapng section.
const INTERFACES_MAX: usize = 65_536;

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Alexey Kuznetsov's variant, whose record headers are eight bytes longer.
const MAGIC_KUZNETSOV: u32 = 0xa1b2_cd34;
const MAGIC_SECTION: u32 = 0x0a0d_0d0a;
const MAGIC_BYTE_ORDER: u32 = 0x1a2b_3c4d;

const BLOCK_INTERFACE: u32 = 1;
const BLOCK_PACKET: u32 = 2;
const BLOCK_SIMPLE_PACKET: u32 = 3;
const BLOCK_ENHANCED_PACKET: u32 = 6;

/// One frame of a capture.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Its number, from 1.
    pub number: u64,
    /// Link type (the "LINKTYPE_" registry).
    pub link: u16,
    /// The bytes as captured.
    pub bytes: Vec<u8>,
}

/// A capture that is being read.
#[derive(Debug)]
pub struct Frames<R> {
    input: R,
    format: Format,
    is_big_endian: bool,
    number: u64,
    truncated: bool,
}

#[derive(Debug)]
enum Format {
    Pcap {
        link: u16,
        record_header_bytes: usize,
    },
    /// Link types of the section's interfaces.
    Pcapng {
        links: Vec<u16>,
    },
}

impl<R: Read> Frames<R> {
    /// Reads the beginning of a capture.
    pub fn open(mut input: R) -> Result<Self, CaptureError> {
        let mut magic = [0; 4];
        input.read_exact(&mut magic)?;
        let magic = u32::from_be_bytes(magic);
        let (is_big_endian, pcap_magic) = match magic {
            MAGIC_MICROSECONDS | MAGIC_NANOSECONDS | MAGIC_KUZNETSOV => (true, magic),
            _ => (false, magic.swap_bytes()),
        };
        let format = Format::Pcapng { links: Vec::new() };
        let mut frames = Self { input, format, is_big_endian, number: 0, truncated: false };
        match (magic, pcap_magic) {
            (MAGIC_SECTION, _) => frames.section()?,
            (_, MAGIC_MICROSECONDS | MAGIC_NANOSECONDS) => frames.pcap(16)?,
            (_, MAGIC_KUZNETSOV) => frames.pcap(24)?,
            _ => return Err(CaptureError::Format { magic }),
        }
        Ok(frames)
    }

    /// The next frame, or `None` at the end.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, CaptureError> {
        match &self.format {
            Format::Pcap { link, record_header_bytes } => {
                let (link, header_bytes) = (*link, *record_header_bytes);
                self.record(link, header_bytes)
            }
            Format::Pcapng { .. } => self.block_with_frame(),
        }
    }

    /// True once the capture turned out to end within a frame.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    fn pcap(&mut self, record_header_bytes: usize) -> Result<(), CaptureError> {
        let mut header = [0; 20];
        self.input.read_exact(&mut header)?;
        // The upper bits tell the length of a frame check sequence.
        let link = self.u32_at(&header, 16) as u16;
        self.format = Format::Pcap { link, record_header_bytes };
        Ok(())
    }

    fn record(&mut self, link: u16, header_bytes: usize) -> Result<Option<Frame>, CaptureError> {
        let Some(header) = self.read(header_bytes)? else {
            return Ok(None);
        };
        let len = self.u32_at(&header, 8) as usize;
        if len > FRAME_BYTES_MAX {
            return Err(self.damaged("the frame's length is above 262144 bytes"));
        }
        let Some(bytes) = self.read(len)? else {
            self.truncated = true;
            return Ok(None);
        };
        Ok(Some(self.numbered(link, bytes)))
    }

    fn block_with_frame(&mut self) -> Result<Option<Frame>, CaptureError> {
        while let Some(kind) = self.read(4)? {
            if self.u32_at(&kind, 0) == MAGIC_SECTION {
                self.section()?;
                continue;
            }
            let Some(body) = self.block_body()? else {
                self.truncated = true;
                return Ok(None);
            };
            let frame = match self.u32_at(&kind, 0) {
                BLOCK_INTERFACE => {
                    self.interface(&body)?;
                    None
                }
                BLOCK_ENHANCED_PACKET => Some((self.u32_at(&body, 0) as usize, 20, 12)),
                BLOCK_PACKET => Some((usize::from(self.u16_at(&body, 0)), 20, 12)),
                BLOCK_SIMPLE_PACKET => Some((0, 4, 0)),
                _ => None,
            };
            let Some((interface, header_bytes, len_at)) = frame else {
                continue;
            };
            let Some(link) = self.link(interface) else {
                return Err(self.damaged("a frame names an interface that was not described"));
            };
            let len = self.u32_at(&body, len_at) as usize;
            let data = body.get(header_bytes..).unwrap_or_default();
            let is_simple = header_bytes == 4;
            let data = match data.get(..len) {
                Some(data) => data,
                // A simple block tells the length on the wire only.
                None if is_simple => data,
                None => return Err(self.damaged("a frame is longer than its block")),
            };
            let bytes = data.to_vec();
            return Ok(Some(self.numbered(link, bytes)));
        }
        Ok(None)
    }

    /// The rest of a section header block, whose type was read.
    fn section(&mut self) -> Result<(), CaptureError> {
        let mut head = [0; 8];
        self.input.read_exact(&mut head)?;
        let (length, order) = head.split_at(4);
        self.is_big_endian = match u32_be(order) {
            MAGIC_BYTE_ORDER => true,
            other if other.swap_bytes() == MAGIC_BYTE_ORDER => false,
            _ => return Err(self.damaged("the section header has no byte-order magic")),
        };
        self.format = Format::Pcapng { links: Vec::new() };
        let length = self.u32_at(length, 0) as usize;
        if !(28..=BLOCK_BYTES_MAX).contains(&length) {
            return Err(self.damaged("the section header's length is out of range"));
        }
        if self.read(length - 12)?.is_none() {
            self.truncated = true;
        }
        Ok(())
    }

    /// The body of a block whose type was read, without the two lengths.
    fn block_body(&mut self) -> Result<Option<Vec<u8>>, CaptureError> {
        let Some(length) = self.read(4)? else {
            return Ok(None);
        };
        let length = self.u32_at(&length, 0) as usize;
        if !(12..=BLOCK_BYTES_MAX).contains(&length) {
            return Err(self.damaged("a block's length is out of range"));
        }
        let padded = length.next_multiple_of(4);
        let Some(mut body) = self.read(padded - 8)? else {
            return Ok(None);
        };
        body.truncate(length - 12);
        Ok(Some(body))
    }

    fn interface(&mut self, body: &[u8]) -> Result<(), CaptureError> {
        let link = self.u16_at(body, 0);
        let too_many = match &mut self.format {
            Format::Pcapng { links } if links.len() < INTERFACES_MAX => {
                links.push(link);
                false
            }
            Format::Pcapng { .. } | Format::Pcap { .. } => true,
        };
        if too_many { Err(self.damaged("the section has too many interfaces")) } else { Ok(()) }
    }

    fn link(&self, interface: usize) -> Option<u16> {
        match &self.format {
            Format::Pcapng { links } => links.get(interface).copied(),
            Format::Pcap { link, .. } => Some(*link),
        }
    }

    fn numbered(&mut self, link: u16, bytes: Vec<u8>) -> Frame {
        self.number += 1;
        Frame { number: self.number, link, bytes }
    }

    /// Exactly `len` bytes; `None` at the end of the file, which is clean only before the first.
    fn read(&mut self, len: usize) -> Result<Option<Vec<u8>>, CaptureError> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => {
                    self.truncated |= filled > 0;
                    return Ok(None);
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(bytes))
    }

    fn damaged(&self, what: &'static str) -> CaptureError {
        CaptureError::Damaged { frame: self.number, what }
    }

    fn u32_at(&self, bytes: &[u8], at: usize) -> u32 {
        let value = bytes.get(at..at + 4).map(u32_be).unwrap_or_default();
        if self.is_big_endian { value } else { value.swap_bytes() }
    }

    fn u16_at(&self, bytes: &[u8], at: usize) -> u16 {
        let value = bytes.get(at..at + 2).map(|b| u32_be(b) as u16).unwrap_or_default();
        if self.is_big_endian { value } else { value.swap_bytes() }
    }
}

fn u32_be(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}
