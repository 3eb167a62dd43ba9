//! The hooks of security modules, by which enforced agents that are root are kept from the daemon.
//!
//! The kernel asks BPF programs there only if it was started with BPF among its security modules,
//! which distributions seldom do. Elsewhere the same acts are found, and not refused.

use std::{fs, os::fd::OwnedFd};

use aya::Ebpf;
use governd_common::names::program;

use super::{
    KernelError,
    btf::Btf,
    own::{self, Kind},
};

/// Where the kernel lists the security modules in force.
const LIST: &str = "/sys/kernel/security/lsm";
/// `BPF_PROG_TYPE_LSM` and `BPF_LSM_MAC` (include/uapi/linux/bpf.h).
const LSM: u32 = 29;
const LSM_MAC: u32 = 27;

/// The programs, and the functions that stand for their hooks (include/linux/lsm_hook_defs.h).
pub(crate) const PROGRAMS: [(&str, &str); 3] = [
    (program::LSM_BPF, "bpf_lsm_bpf"),
    (program::LSM_KILL, "bpf_lsm_task_kill"),
    (program::LSM_PTRACE, "bpf_lsm_ptrace_access_check"),
];

/// What the doctor calls this.
pub(crate) const WORD: &str = "self-protection";

/// The programs that the running kernel would ask, with what it has to know of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hooks(Vec<(&'static str, Kind)>);

impl Hooks {
    /// Of the running kernel; none where it asks none.
    pub(crate) fn of_kernel() -> Result<Self, KernelError> {
        if !is_listed(&fs::read_to_string(LIST).unwrap_or_default()) {
            return Ok(Self::default());
        }
        let btf = Btf::of_kernel()?;
        let kinds = PROGRAMS.into_iter().filter_map(|(name, function)| {
            let function = btf.function(function)?;
            Some((name, Kind { program_type: LSM, attach_type: LSM_MAC, function }))
        });
        Ok(Self(kinds.collect()))
    }

    /// What they do, or what comes in their place.
    pub(crate) const fn detail(&self) -> &'static str {
        if self.0.is_empty() {
            "what an agent that is root does to governd is found, not refused: BPF is not among \
             the security modules that the kernel was started with (`lsm=`)"
        } else {
            "agents that are enforced cannot call bpf(2), and cannot signal or trace governd"
        }
    }

    pub(crate) fn kind(&self, name: &str) -> Option<Kind> {
        self.0.iter().find(|(program, _)| *program == name).map(|(_, kind)| *kind)
    }

    /// Gives the programs to the verifier. One that it refuses is left out and said: nothing of the
    /// policy depends on it.
    pub(crate) fn load(&self, ebpf: &Ebpf) -> Vec<(&'static str, OwnedFd)> {
        let loaded = self.0.iter().filter_map(|(name, kind)| {
            own::load(ebpf, name, *kind)
                .inspect_err(|error| tracing::warn!(%error, program = name, "left out"))
                .ok()
                .map(|fd| (*name, fd))
        });
        loaded.collect()
    }
}

/// Whether a program is one of these.
pub(crate) fn is_one(name: &str) -> bool {
    PROGRAMS.iter().any(|(program, _)| *program == name)
}

fn is_listed(modules: &str) -> bool {
    modules.trim().split(',').any(|module| module == "bpf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bpf_is_found_among_the_security_modules_and_not_in_their_names() {
        assert!(is_listed("lockdown,capability,landlock,yama,apparmor,bpf\n"));
        assert!(!is_listed("lockdown,capability,bpfilter"));
        assert!(!is_listed(""));
    }
}
