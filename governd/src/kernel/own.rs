//! Programs that aya does not load: those of the hooks on local sockets, which it has no names for,
//! and those of security modules. They are loaded here, over the maps that aya made.

use std::{
    collections::HashSet,
    ffi::CString,
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd},
};

use aya::{Ebpf, maps::Map};
use aya_obj::Object;

use super::{
    KernelError,
    load::OBJECT,
    sys::{self, Command},
};

const LOG_BYTES: usize = 16 * 1_024 * 1_024;
const NAME_BYTES: usize = 16;

/// What the kernel has to know of a program (include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) program_type: u32,
    pub(crate) attach_type: u32,
    /// Number of the hook's function in the kernel's type information, or 0.
    pub(crate) function: u32,
}

/// Gives a program to the verifier.
pub(crate) fn load(ebpf: &Ebpf, name: &'static str, kind: Kind) -> Result<OwnedFd, KernelError> {
    let mut object = Object::parse(OBJECT).map_err(|_| KernelError::Missing(name))?;
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let definitions = object.maps.clone();
    let maps = ebpf.maps().filter_map(|(map_name, map)| {
        let (map_name, definition) = definitions.get_key_value(map_name)?;
        Some((map_name.as_str(), descriptor(map)?, definition))
    });
    let refused = |error: String| KernelError::LoadOwn {
        program: name,
        log: String::new(),
        source: io::Error::other(error),
    };
    object.relocate_maps(maps, &sections).map_err(|error| refused(error.to_string()))?;
    object.relocate_calls(&sections).map_err(|error| refused(error.to_string()))?;
    let found = object.programs.get(name).ok_or(KernelError::Missing(name))?;
    let function = object.functions.get(&found.function_key());
    let function = function.ok_or(KernelError::Missing(name))?;
    let code: Vec<u8> = function.instructions.iter().flat_map(encode).collect();
    // A log costs time and must hold every word, so it is asked for only after a refusal.
    load_code(&code, &found.license, name, kind, &mut []).map_err(|source| {
        let mut log = vec![0_u8; LOG_BYTES];
        if load_code(&code, &found.license, name, kind, &mut log).is_ok() {
            tracing::debug!(program = name, "refused once and then accepted");
        }
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        let log = String::from_utf8_lossy(log.get(..end).unwrap_or_default()).into_owned();
        KernelError::LoadOwn { program: name, log, source }
    })
}

/// An instruction as the kernel takes it (Documentation/bpf/standardization/instruction-set.rst).
fn encode(instruction: &aya_obj::generated::bpf_insn) -> [u8; 8] {
    let registers = instruction.dst_reg() | instruction.src_reg() << 4;
    let [off_0, off_1] = instruction.off.to_ne_bytes();
    let [imm_0, imm_1, imm_2, imm_3] = instruction.imm.to_ne_bytes();
    [instruction.code, registers, off_0, off_1, imm_0, imm_1, imm_2, imm_3]
}

/// The descriptor of a map of a kind that the object has.
fn descriptor(map: &Map) -> Option<RawFd> {
    match map {
        Map::Array(map)
        | Map::HashMap(map)
        | Map::LpmTrie(map)
        | Map::LruHashMap(map)
        | Map::PerCpuArray(map)
        | Map::ProgramArray(map)
        | Map::RingBuf(map)
        | Map::SkStorage(map)
        | Map::Unsupported(map) => Some(map.fd().as_fd().as_raw_fd()),
        _ => None,
    }
}

fn load_code(
    code: &[u8],
    license: &CString,
    name: &str,
    kind: Kind,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    /// The members of `union bpf_attr` for this command, as far as they are used.
    #[repr(C)]
    struct ProgLoad {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; NAME_BYTES],
        prog_ifindex: u32,
        expected_attach_type: u32,
        prog_btf_fd: u32,
        func_info_rec_size: u32,
        func_info: u64,
        func_info_cnt: u32,
        line_info_rec_size: u32,
        line_info: u64,
        line_info_cnt: u32,
        attach_btf_id: u32,
    }
    let mut prog_name = [0; NAME_BYTES];
    for (place, byte) in prog_name.iter_mut().take(NAME_BYTES - 1).zip(name.bytes()) {
        *place = byte;
    }
    let attributes = ProgLoad {
        prog_type: kind.program_type,
        insn_cnt: (code.len() / 8) as u32,
        insns: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type: kind.attach_type,
        prog_btf_fd: 0,
        func_info_rec_size: 0,
        func_info: 0,
        func_info_cnt: 0,
        line_info_rec_size: 0,
        line_info: 0,
        line_info_cnt: 0,
        attach_btf_id: kind.function,
    };
    // What the attributes point to lives through the call, with the lengths that are told.
    sys::bpf_fd(Command::ProgLoad, &attributes)
}
