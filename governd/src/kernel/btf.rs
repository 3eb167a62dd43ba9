//! A reader of the kernel's BTF that finds the offsets of structure members, and no more.
//!
//! The format is that of Documentation/bpf/btf.rst: a header, a section of types that are numbered
//! from 1 by their order, and a section of strings. All reads are checked; malformed input is an
//! error, never a panic.

use std::{collections::HashMap, fs};

use super::KernelError;

/// Where the kernel shows its BTF.
pub(crate) const PATH: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const HEADER_BYTES: usize = 24;
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;
/// Structures inside structures without a name of their own that are searched.
const DEPTH_MAX: u32 = 8;

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// Parsed type information.
#[derive(Debug)]
pub(crate) struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    /// Offset of each type, by number; number 0 is void.
    types: Vec<usize>,
    structs: HashMap<Vec<u8>, u32>,
    /// Variables by name, and the number of their type.
    variables: HashMap<Vec<u8>, u32>,
}

impl Btf {
    /// Reads the running kernel's.
    pub(crate) fn of_kernel() -> Result<Self, KernelError> {
        let bytes = fs::read(PATH).map_err(|source| KernelError::NoBtf { path: PATH, source })?;
        Self::parse(bytes)
    }

    /// Reads BTF of this machine's byte order.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, KernelError> {
        let short = || KernelError::Btf("it is cut short".to_owned());
        let word = |at: usize| read_u32(&bytes, at).ok_or_else(short);
        if read_u16(&bytes, 0) != Some(MAGIC) {
            return Err(KernelError::Btf("it does not begin with the BTF magic".to_owned()));
        }
        let header = word(4)? as usize;
        if header < HEADER_BYTES {
            return Err(short());
        }
        let types_at = header + word(8)? as usize;
        let types_end = types_at + word(12)? as usize;
        let strings = header + word(16)? as usize;
        let (structs, variables) = (HashMap::new(), HashMap::new());
        let mut btf = Self { bytes, strings, types: vec![0], structs, variables };
        let mut at = types_at;
        while at < types_end {
            let (kind, len) = btf.head(at).ok_or_else(short)?;
            let extra = extra_bytes(kind, len)
                .ok_or_else(|| KernelError::Btf(format!("it has types of unknown kind {kind}")))?;
            if kind == kind::STRUCT {
                let name = btf.name(at).ok_or_else(short)?.to_vec();
                let number = btf.types.len() as u32;
                btf.structs.entry(name).or_insert(number);
            }
            if kind == kind::VAR {
                let name = btf.name(at).ok_or_else(short)?.to_vec();
                let variable_type = read_u32(&btf.bytes, at + 8).ok_or_else(short)?;
                btf.variables.insert(name, variable_type);
            }
            btf.types.push(at);
            at += TYPE_BYTES + extra;
        }
        Ok(btf)
    }

    /// Offset in bytes of a member of a structure; a path such as `live.counter` leads into the
    /// member's own type.
    pub(crate) fn offset(&self, structure: &str, path: &str) -> Result<u32, KernelError> {
        let bits = self.bits(structure, path)?;
        if bits % 8 == 0 { Ok(bits / 8) } else { Err(missing(structure, path)) }
    }

    /// Where a member of one bit is: the byte that holds it, and its place there as a mask. Bits
    /// are counted from the lowest, as on every little-endian machine.
    pub(crate) fn bit(&self, structure: &str, path: &str) -> Result<(u32, u32), KernelError> {
        let bits = self.bits(structure, path)?;
        Ok((bits / 8, 1 << (bits % 8)))
    }

    fn bits(&self, structure: &str, path: &str) -> Result<u32, KernelError> {
        let missing = || missing(structure, path);
        let mut number = *self.structs.get(structure.as_bytes()).ok_or_else(missing)?;
        let mut bits = 0;
        for name in path.split('.') {
            let (member_bits, member_type) =
                self.member(number, name.as_bytes(), DEPTH_MAX).ok_or_else(missing)?;
            bits += member_bits;
            number = member_type;
        }
        Ok(bits)
    }

    /// Where in the bytes the number of the type of a variable's member is.
    pub(crate) fn member_type_at(&self, variable: &str, name: &str) -> Option<usize> {
        let at = self.resolve(*self.variables.get(variable.as_bytes())?)?;
        let (kind, len) = self.head(at)?;
        if kind != kind::STRUCT {
            return None;
        }
        let mut members = (0..len as usize).map(|index| at + TYPE_BYTES + index * MEMBER_BYTES);
        let member = members.find(|member| self.name(*member) == Some(name.as_bytes()))?;
        Some(member + 4)
    }

    /// The number of a function.
    pub(crate) fn function(&self, name: &str) -> Option<u32> {
        self.number(kind::FUNC, name)
    }

    /// The number of the type that tells what a tracepoint's arguments are.
    pub(crate) fn tracepoint(&self, name: &str) -> Option<u32> {
        self.number(kind::TYPEDEF, &format!("btf_trace_{name}"))
    }

    fn number(&self, wanted: u32, name: &str) -> Option<u32> {
        let is_it = |at: usize| {
            self.head(at).is_some_and(|(kind, _)| kind == wanted)
                && self.name(at) == Some(name.as_bytes())
        };
        let found = self.types.iter().skip(1).position(|at| is_it(*at))?;
        u32::try_from(found + 1).ok()
    }

    /// Whether anything has this name: a type, a member or an enumerator.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        let strings = self.bytes.get(self.strings..).unwrap_or_default();
        strings.split(|byte| *byte == 0).any(|found| found == name.as_bytes())
    }

    /// Offset in bits and type of a member, also of one inside nameless members.
    fn member(&self, number: u32, name: &[u8], depth: u32) -> Option<(u32, u32)> {
        let at = self.resolve(number)?;
        let (kind, len) = self.head(at)?;
        if kind != kind::STRUCT && kind != kind::UNION {
            return None;
        }
        let has_bitfields = read_u32(&self.bytes, at + 4)? >> 31 != 0;
        for index in 0..len as usize {
            let member = at + TYPE_BYTES + index * MEMBER_BYTES;
            let member_type = read_u32(&self.bytes, member + 4)?;
            let offset = read_u32(&self.bytes, member + 8)?;
            let bits = if has_bitfields { offset & 0x00ff_ffff } else { offset };
            let member_name = self.name(member)?;
            if member_name == name {
                return Some((bits, member_type));
            }
            if member_name.is_empty()
                && let Some(deeper) = depth.checked_sub(1)
                && let Some((inner, inner_type)) = self.member(member_type, name, deeper)
            {
                return Some((bits + inner, inner_type));
            }
        }
        None
    }

    /// Offset of a type, behind its typedefs and qualifiers.
    fn resolve(&self, mut number: u32) -> Option<usize> {
        for _ in 0..DEPTH_MAX {
            let at = *self.types.get(number as usize).filter(|_| number != 0)?;
            let (kind, _) = self.head(at)?;
            match kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    number = read_u32(&self.bytes, at + 8)?;
                }
                _ => return Some(at),
            }
        }
        None
    }

    /// Kind and count of the type at an offset.
    fn head(&self, at: usize) -> Option<(u32, u32)> {
        let info = read_u32(&self.bytes, at + 4)?;
        Some((info >> 24 & 0x1f, info & 0xffff))
    }

    /// Name of the type or member at an offset: both begin with it.
    fn name(&self, at: usize) -> Option<&[u8]> {
        let offset = read_u32(&self.bytes, at)? as usize;
        let rest = self.bytes.get(self.strings.checked_add(offset)?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        rest.get(..end)
    }
}

fn missing(structure: &str, path: &str) -> KernelError {
    KernelError::Btf(format!("it has no member {path} of struct {structure}"))
}

/// Bytes that follow the head of a type; `None` for kinds that are not known.
fn extra_bytes(kind: u32, len: u32) -> Option<usize> {
    let len = len as usize;
    Some(match kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION => len * MEMBER_BYTES,
        kind::ENUM | kind::FUNC_PROTO => len * 8,
        kind::DATASEC | kind::ENUM64 => len * 12,
        kind::PTR
        | kind::FWD
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNC
        | kind::FLOAT
        | kind::TYPE_TAG => 0,
        _ => return None,
    })
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int a; struct { inner_t b; }; }`, `typedef const struct inner inner_t`,
    /// `struct inner { int x; int y; }`.
    fn sample() -> Vec<u8> {
        let strings = b"\0outer\0a\0inner\0b\0x\0y\0inner_t\0int\0";
        let name = |text: &str| {
            let text = format!("\0{text}\0");
            strings.windows(text.len()).position(|found| found == text.as_bytes()).unwrap() as u32
                + 1
        };
        let head = |kind: u32, len: u32| kind << 24 | len;
        let types: Vec<u32> = [
            vec![name("int"), head(kind::INT, 0), 4, 32],
            vec![name("inner"), head(kind::STRUCT, 2), 8],
            vec![name("x"), 1, 0, name("y"), 1, 32],
            vec![0, head(kind::CONST, 0), 2],
            vec![name("inner_t"), head(kind::TYPEDEF, 0), 3],
            vec![0, head(kind::STRUCT, 1), 8, name("b"), 4, 0],
            vec![name("outer"), head(kind::STRUCT, 2), 16],
            vec![name("a"), 1, 0, 0, 5, 64],
        ]
        .concat();
        let types_len = types.len() as u32 * 4;
        let header = [24, 0, types_len, types_len, strings.len() as u32];
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        bytes.extend(header.iter().chain(&types).flat_map(|word| word.to_ne_bytes()));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_are_found_through_nameless_ones_and_typedefs() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset("outer", "a").unwrap(), 0);
        assert_eq!(btf.offset("outer", "b").unwrap(), 8);
        assert_eq!(btf.offset("outer", "b.y").unwrap(), 12);
        assert_eq!(btf.bit("outer", "b.y").unwrap(), (12, 1));
        assert_eq!(
            btf.offset("outer", "z").unwrap_err().to_string(),
            "the kernel's type information (BTF) is not usable: it has no member z of struct outer"
        );
        assert!(btf.offset("none", "a").is_err());
        assert!(btf.has_name("inner_t") && !btf.has_name("inner_"));
    }

    #[test]
    fn no_piece_of_it_makes_the_reader_panic() {
        let whole = sample();
        for len in 0..whole.len() {
            if let Ok(btf) = Btf::parse(whole[..len].to_vec()) {
                let found = btf.offset("outer", "b.y").unwrap_or(12);
                assert_eq!(found, 12);
            }
        }
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] ^= 0xff;
            if let Ok(btf) = Btf::parse(bytes) {
                std::hint::black_box(btf.offset("outer", "b.y").ok());
            }
        }
    }
}
