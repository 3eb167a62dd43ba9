//! Files that a thread may write, by Landlock.
//!
//! Not for the daemon as a whole: who is confined by Landlock may look at no process that is not
//! (`hook_ptrace_access_check`, security/landlock/task.c), so its executable, descriptors and
//! namespaces would be hidden, and governd knows agents by those. It is for the sink, and for
//! those threads of the daemon that talk to other hosts and need nothing of other processes.

use std::{path::Path, thread};

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible as _, LandlockStatus, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, path_beneath_rules,
};

/// What there is to write in Linux 6.10 and later; earlier kernels hold what they know.
const KNOWN: ABI = ABI::V5;
/// Devices that anybody may write.
const NULL: &str = "/dev/null";

/// How far the kernel holds it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Confined {
    /// As asked.
    Wholly,
    /// Without some accesses that this kernel's Landlock does not know.
    Partly,
    /// Not at all: there is no Landlock.
    Not,
}

/// Lets the calling thread, and those that it starts, write below these directories and nowhere
/// else, and use no capability of looking into processes outside. Reading is as it was.
///
/// # Errors
/// Landlock is there and refuses.
pub fn write_only_below<P: AsRef<Path>>(
    directories: impl IntoIterator<Item = P>,
) -> Result<Confined, RulesetError> {
    let write = AccessFs::from_write(KNOWN);
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(write)?
        .create()?
        .add_rules(path_beneath_rules(directories, write))?
        .add_rules(path_beneath_rules([NULL], write))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Confined::Wholly,
        RulesetStatus::PartiallyEnforced => Confined::Partly,
        RulesetStatus::NotEnforced => Confined::Not,
    })
}

/// The kernel's Landlock, in words; `None` if there is none.
pub fn landlock() -> Option<String> {
    // Only who is confined is told, so a thread is for a moment.
    let told = thread::spawn(|| {
        let ruleset = Ruleset::default().handle_access(AccessFs::WriteFile)?.create()?;
        Ok::<_, RulesetError>(ruleset.restrict_self()?.landlock)
    });
    match told.join().ok()?.ok()? {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            Some(format!("version {}", kernel_abi.unwrap_or(effective_abi as i32)))
        }
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use super::*;

    #[test]
    fn a_thread_writes_below_its_directories_only_and_others_as_before() {
        let directory = tempfile::tempdir().unwrap();
        let (own, other) = (directory.path().join("own"), directory.path().join("other"));
        fs::create_dir(&own).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("old"), "text").unwrap();
        let paths = (own.clone(), other.clone());
        let confined = thread::spawn(move || {
            let (own, other) = paths;
            if write_only_below([&own]).unwrap() == Confined::Not {
                return false;
            }
            fs::write(own.join("new"), "text").unwrap();
            fs::rename(own.join("new"), own.join("newer")).unwrap();
            assert_eq!(fs::read_to_string(other.join("old")).unwrap(), "text");
            let refused = [
                fs::write(other.join("new"), ""),
                fs::write(other.join("old"), ""),
                fs::remove_file(other.join("old")),
                fs::create_dir(other.join("directory")),
                fs::rename(own.join("newer"), other.join("newer")),
            ];
            for (row, outcome) in refused.into_iter().enumerate() {
                // Across directories EXDEV, as between file systems.
                let is_refused = outcome.is_err_and(|error| {
                    matches!(
                        error.kind(),
                        io::ErrorKind::PermissionDenied | io::ErrorKind::CrossesDevices
                    )
                });
                assert!(is_refused, "row {row}");
            }
            true
        });
        if !confined.join().unwrap() {
            assert_eq!(landlock(), None);
        }
        fs::write(other.join("old"), "").unwrap();
    }
}
