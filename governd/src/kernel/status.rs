//! What is loaded and attached.

use governd_common::names::map;

use super::{Kernel, KernelError, sys};

/// One program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProgramStatus {
    /// Its name.
    pub name: &'static str,
    /// Its id in the kernel.
    pub id: u32,
    /// Instructions that the verifier looked at, since Linux 5.16.
    pub verified_instructions: Option<u32>,
    /// Bytes of translated code.
    pub translated_bytes: Option<u32>,
    /// False if its link was taken off its cgroup by somebody else.
    pub is_attached: bool,
}

/// The kernel side.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KernelStatus {
    /// Generation in force; 0 before the first policy.
    pub generation: u64,
    /// The programs, in the order in which they were attached.
    pub programs: Vec<ProgramStatus>,
}

impl KernelStatus {
    /// True if every program is still attached.
    pub fn is_whole(&self) -> bool {
        self.programs.iter().all(|program| program.is_attached)
    }
}

impl Kernel {
    /// How many addresses stand for names now.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn bindings_count(&self) -> Result<u64, KernelError> {
        let counted = self.tables.bindings.keys().try_fold(0, |count, key| key.map(|_| count + 1));
        counted.map_err(KernelError::map("read", map::BINDINGS))
    }

    /// What is loaded, and whether it is still attached.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn status(&self) -> Result<KernelStatus, KernelError> {
        let mut programs = Vec::new();
        for (name, is_attached) in self.links.alive()? {
            let program = self.collection.program(name)?;
            let info = sys::program_info(program).map_err(KernelError::Link)?;
            programs.push(ProgramStatus {
                name,
                id: info.id,
                // Before Linux 5.16 the kernel does not say it.
                verified_instructions: (info.verified_insns != 0).then_some(info.verified_insns),
                translated_bytes: (info.xlated_prog_len != 0).then_some(info.xlated_prog_len),
                is_attached,
            });
        }
        Ok(KernelStatus { generation: self.generation(), programs })
    }
}
