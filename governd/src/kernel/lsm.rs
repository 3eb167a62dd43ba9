//! The hooks of security modules, by which enforced agents that are root are kept from the daemon.
//!
//! The kernel asks BPF programs there only if it was started with BPF among its security modules,
//! which distributions seldom do. Elsewhere the same acts are found, and not refused.

use std::fs;

use governd_common::names::program;

use super::{btf::Btf, program::Kind};

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

/// Kinds of the programs that the running kernel would ask.
pub(crate) fn kinds(btf: &Btf) -> impl Iterator<Item = (&'static str, Kind)> {
    let asks = is_listed(&fs::read_to_string(LIST).unwrap_or_default());
    PROGRAMS.into_iter().filter(move |_| asks).filter_map(|(name, function)| {
        let function = btf.function(function)?;
        Some((name, Kind { program_type: LSM, attach_type: LSM_MAC, function }))
    })
}

/// What they do, or what comes in their place.
pub(crate) const fn detail(are_asked: bool) -> &'static str {
    if are_asked {
        "agents that are enforced cannot call bpf(2), and cannot signal or trace governd"
    } else {
        "what an agent that is root does to governd is found, not refused: BPF is not among the \
         security modules that the kernel was started with (`lsm=`)"
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
