//! Programs on their way to the verifier.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya_obj::{
    Function, ProgramSection,
    generated::{bpf_attach_type, bpf_insn, bpf_prog_type},
};

use super::{
    KernelError,
    load::is_permission,
    sys::{self, Command},
};

const LOG_BYTES: usize = 16 * 1_024 * 1_024;
const NAME_BYTES: usize = 16;
/// How often a program is given to the verifier while signals interrupt it.
const LOADS_MAX: u32 = 5;

/// What the kernel has to know of a program (include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) program_type: u32,
    pub(crate) attach_type: u32,
    /// Number of the hook's function in the kernel's type information, or 0.
    pub(crate) function: u32,
}

impl Kind {
    /// By the name of a program's section; `None` of those that the daemon has kinds of its own
    /// for.
    fn of_section(section: &ProgramSection) -> Option<Self> {
        use bpf_prog_type as types;
        let (program_type, attach_type) = match section {
            ProgramSection::CgroupSockAddr { attach_type } => {
                (types::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, bpf_attach_type::from(*attach_type) as u32)
            }
            ProgramSection::CgroupSock { attach_type } => {
                (types::BPF_PROG_TYPE_CGROUP_SOCK, bpf_attach_type::from(*attach_type) as u32)
            }
            ProgramSection::CgroupSkb { attach_type: Some(attach_type) } => {
                (types::BPF_PROG_TYPE_CGROUP_SKB, bpf_attach_type::from(*attach_type) as u32)
            }
            ProgramSection::CgroupSockopt { attach_type } => {
                (types::BPF_PROG_TYPE_CGROUP_SOCKOPT, bpf_attach_type::from(*attach_type) as u32)
            }
            ProgramSection::CgroupDevice => (types::BPF_PROG_TYPE_CGROUP_DEVICE, 0),
            ProgramSection::CgroupSysctl => (types::BPF_PROG_TYPE_CGROUP_SYSCTL, 0),
            ProgramSection::RawTracePoint => (types::BPF_PROG_TYPE_RAW_TRACEPOINT, 0),
            ProgramSection::SchedClassifier => (types::BPF_PROG_TYPE_SCHED_CLS, 0),
            _ => return None,
        };
        Some(Self { program_type: program_type as u32, attach_type, function: 0 })
    }
}

/// What a program consists of.
pub(crate) struct Code {
    license: CString,
    kind: Option<Kind>,
    instructions: Vec<u8>,
    /// Which function is of which type, by which the kernel knows those that are called back.
    functions: Vec<u8>,
    functions_count: u32,
    function_bytes: u32,
}

impl Code {
    /// A program whose maps and functions are in their places.
    pub(crate) fn of(program: aya_obj::Program, function: Function) -> Self {
        Self {
            license: program.license,
            kind: Kind::of_section(&program.section),
            instructions: function.instructions.iter().flat_map(encode).collect(),
            functions: function.func_info.func_info_bytes(),
            functions_count: function.func_info.len() as u32,
            function_bytes: function.func_info_rec_size as u32,
        }
    }

    /// How long it is.
    pub(crate) fn bytes(&self) -> usize {
        self.instructions.len()
    }

    /// Gives it to the verifier.
    pub(crate) fn load(
        &self,
        name: &'static str,
        kind: Option<Kind>,
        types: Option<BorrowedFd<'_>>,
    ) -> Result<OwnedFd, KernelError> {
        let kind = kind.or(self.kind).ok_or(KernelError::Missing(name))?;
        // A log costs time and must hold every word, so it is asked for only after a refusal.
        let loaded = while_interrupted(|| self.load_as(name, kind, types, &mut []));
        loaded.map_err(|source| {
            if is_permission(&source) {
                return KernelError::Permission { what: "loading a program", source };
            }
            let mut log = vec![0_u8; LOG_BYTES];
            if self.load_as(name, kind, types, &mut log).is_ok() {
                tracing::debug!(program = name, "refused once and then accepted");
            }
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            let log = String::from_utf8_lossy(log.get(..end).unwrap_or_default()).into_owned();
            KernelError::Load { program: name, log, source }
        })
    }

    fn load_as(
        &self,
        name: &str,
        kind: Kind,
        types: Option<BorrowedFd<'_>>,
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
        let types = types.filter(|_| self.functions_count > 0);
        let attributes = ProgLoad {
            prog_type: kind.program_type,
            insn_cnt: (self.instructions.len() / size_of::<bpf_insn>()) as u32,
            insns: self.instructions.as_ptr() as u64,
            license: self.license.as_ptr() as u64,
            log_level: u32::from(!log.is_empty()),
            log_size: log.len() as u32,
            log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
            kern_version: 0,
            prog_flags: 0,
            prog_name,
            prog_ifindex: 0,
            expected_attach_type: kind.attach_type,
            prog_btf_fd: types.map_or(0, |types| types.as_raw_fd().cast_unsigned()),
            func_info_rec_size: types.map_or(0, |_| self.function_bytes),
            func_info: types.map_or(0, |_| self.functions.as_ptr() as u64),
            func_info_cnt: types.map_or(0, |_| self.functions_count),
            line_info_rec_size: 0,
            line_info: 0,
            line_info_cnt: 0,
            attach_btf_id: kind.function,
        };
        // What the attributes point to lives through the call, with the lengths that are told.
        sys::bpf_fd(Command::ProgLoad, &attributes)
    }
}

/// Loads a program for filters of traffic control, of instructions as the kernel has them
/// (include/uapi/linux/bpf.h).
pub(super) fn load_classifier(instructions: &[[u8; 8]]) -> io::Result<OwnedFd> {
    let program_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
    let kind = Kind { program_type, attach_type: 0, function: 0 };
    let code = Code {
        license: c"Dual MIT/GPL".into(),
        kind: Some(kind),
        instructions: instructions.concat(),
        functions: Vec::new(),
        functions_count: 0,
        function_bytes: 0,
    };
    while_interrupted(|| code.load_as("", kind, None, &mut []))
}

/// Asks the verifier again where a signal interrupted it (`do_check` in kernel/bpf/verifier.c gives
/// `EAGAIN`).
fn while_interrupted<T>(mut load: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..LOADS_MAX {
        match load() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tracing::debug!("the verifier was interrupted by a signal");
            }
            done => return done,
        }
    }
    load()
}

/// An instruction as the kernel takes it (Documentation/bpf/standardization/instruction-set.rst).
fn encode(instruction: &bpf_insn) -> [u8; 8] {
    let registers = instruction.dst_reg() | instruction.src_reg() << 4;
    let [off_0, off_1] = instruction.off.to_ne_bytes();
    let [imm_0, imm_1, imm_2, imm_3] = instruction.imm.to_ne_bytes();
    [instruction.code, registers, off_0, off_1, imm_0, imm_1, imm_2, imm_3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_loaded_again_while_signals_interrupt_that_and_not_for_ever() {
        let interrupted = || io::Error::from(io::ErrorKind::WouldBlock);
        for (refusals, loads, is_loaded) in [(0, 1, true), (2, 3, true), (9, LOADS_MAX, false)] {
            let mut asked = 0;
            let loaded = while_interrupted(|| {
                asked += 1;
                if asked > refusals { Ok(()) } else { Err(interrupted()) }
            });
            assert_eq!((asked, loaded.is_ok()), (loads, is_loaded), "{refusals}");
        }
        let mut asked = 0;
        let refused: io::Result<()> = while_interrupted(|| {
            asked += 1;
            Err(io::Error::from(io::ErrorKind::PermissionDenied))
        });
        assert_eq!((asked, refused.is_err()), (1, true));
    }
}
