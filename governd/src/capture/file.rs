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
    pub fn open(input: R) -> Result<Self, CaptureError> {
        let format = Format::Pcapng { links: Vec::new() };
        let mut frames = Self { input, format, is_big_endian: true, number: 0, truncated: false };
        let magic = frames.read(4)?.ok_or(CaptureError::Header)?;
        let magic = u32_be(&magic);
        let pcap_magic = match magic {
            MAGIC_MICROSECONDS | MAGIC_NANOSECONDS | MAGIC_KUZNETSOV => magic,
            _ => {
                frames.is_big_endian = false;
                magic.swap_bytes()
            }
        };
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
        let header = self.read(20)?.ok_or(CaptureError::Header)?;
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
        let Some(head) = self.read(8)? else {
            self.truncated = true;
            return Ok(());
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pcap(magic: u32, big_endian: bool, frames: &[&[u8]]) -> Vec<u8> {
        let word = |value: u32| {
            if big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
        };
        let mut bytes = word(magic).to_vec();
        bytes.extend([0, 0, 0, 0xffff, 101].iter().flat_map(|value| word(*value)));
        for frame in frames {
            let len = u32::try_from(frame.len()).unwrap();
            bytes.extend([1, 2, len, len].iter().flat_map(|value| word(*value)));
            if magic == MAGIC_KUZNETSOV {
                bytes.extend([0; 8]);
            }
            bytes.extend(*frame);
        }
        bytes
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let length = u32::try_from(padded + 12).unwrap().to_le_bytes();
        let mut bytes = [&kind.to_le_bytes()[..], &length, body].concat();
        bytes.resize(8 + padded, 0);
        bytes.extend(length);
        bytes
    }

    fn section() -> Vec<u8> {
        let order = MAGIC_BYTE_ORDER.to_le_bytes();
        block(MAGIC_SECTION, &[&order[..], &[1, 0, 0, 0], &[0xff; 8]].concat())
    }

    fn interface(link: u8) -> Vec<u8> {
        block(BLOCK_INTERFACE, &[link, 0, 0, 0, 0, 0, 0, 0])
    }

    fn enhanced(interface: u8, frame: &[u8]) -> Vec<u8> {
        let len = u32::try_from(frame.len()).unwrap().to_le_bytes();
        let head = [&[interface, 0, 0, 0][..], &[0; 8], &len, &len].concat();
        block(BLOCK_ENHANCED_PACKET, &[&head, frame].concat())
    }

    type Read = (Vec<(u64, u16, Vec<u8>)>, Option<String>, bool);

    fn read(bytes: &[u8]) -> Read {
        let mut frames = match Frames::open(bytes) {
            Ok(frames) => frames,
            Err(error) => return (Vec::new(), Some(error.to_string()), false),
        };
        let mut all = Vec::new();
        loop {
            match frames.next_frame() {
                Ok(Some(Frame { number, link, bytes })) => all.push((number, link, bytes)),
                Ok(None) => return (all, None, frames.is_truncated()),
                Err(error) => return (all, Some(error.to_string()), frames.is_truncated()),
            }
        }
    }

    #[test]
    fn every_kind_of_pcap_is_read() {
        let expected = vec![(1, 101, b"abc".to_vec()), (2, 101, Vec::new())];
        for magic in [MAGIC_MICROSECONDS, MAGIC_NANOSECONDS, MAGIC_KUZNETSOV] {
            for big_endian in [false, true] {
                let (frames, error, truncated) = read(&pcap(magic, big_endian, &[b"abc", b""]));
                assert_eq!((&frames, error, truncated), (&expected, None, false), "{magic:x}");
            }
        }
    }

    #[test]
    fn sections_interfaces_and_unknown_blocks_of_pcapng_are_read() {
        let file = [
            section(),
            interface(1),
            interface(113),
            enhanced(1, b"abcde"),
            block(0x0bad, b"anything"),
            block(BLOCK_SIMPLE_PACKET, &[3, 0, 0, 0, b'x', b'y', b'z', 0]),
            section(),
            interface(101),
            enhanced(0, b"q"),
        ];
        let (frames, error, truncated) = read(&file.concat());
        let expected =
            [(1, 113, b"abcde".to_vec()), (2, 1, b"xyz".to_vec()), (3, 101, b"q".to_vec())];
        assert_eq!((frames, error, truncated), (expected.to_vec(), None, false));
    }

    #[test]
    fn a_file_that_ends_within_a_frame_gives_what_is_whole() {
        let whole = pcap(MAGIC_MICROSECONDS, false, &[b"abc", b"def"]);
        for cut in 1..19 {
            let (frames, error, truncated) = read(&whole[..whole.len() - cut]);
            assert_eq!((frames.len(), error, truncated), (1, None, true), "{cut}");
        }
        let first = [section(), interface(1), enhanced(0, b"a")].concat();
        for whole in 1..section().len() {
            let cut = [&first[..], &section()[..whole]].concat();
            let (frames, error, truncated) = read(&cut);
            assert_eq!((frames.len(), error, truncated), (1, None, true), "{whole}");
        }
    }

    #[test]
    fn damage_is_told_with_its_place() {
        let mut long = pcap(MAGIC_MICROSECONDS, false, &[b"abc", b"def"]);
        long[24 + 16 + 3 + 8 + 3] = 1;
        let unknown = [section(), enhanced(0, b"a")].concat();
        let rows: [(&[u8], &str); 6] = [
            (&long, "frame 1: the frame's length is above 262144 bytes"),
            (&unknown, "frame 0: a frame names an interface that was not described"),
            (b"PK\x03\x04", "the file is neither pcap nor pcapng: it begins with 0x504b0304"),
            (b"PK", "the file ends within its header"),
            (&long[..23], "the file ends within its header"),
            (&[], "the file ends within its header"),
        ];
        for (bytes, message) in rows {
            assert_eq!(read(bytes).1.as_deref(), Some(message));
        }
    }
}
