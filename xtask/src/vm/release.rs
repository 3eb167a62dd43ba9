//! The kernels that governd is tried on.

use anyhow::{Context, Result};

/// A kernel series, and where Debian has it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Release {
    /// What `--kernel` takes, and the name of the folder.
    pub(super) name: &'static str,
    /// The suite of the archive that carries it.
    pub(super) suite: &'static str,
    /// The series to take from a suite that carries several; the suite's current one if `None`.
    pub(super) series: Option<&'static str>,
    /// Whether governd must work on it in full.
    pub(super) is_required: bool,
    /// The processor that QEMU emulates.
    pub(super) cpu: &'static str,
}

/// Without these two QEMU offers what it does not do right enough for Linux 6.12 to boot.
const CPU: &str = "max,-cx16,-la57";
/// Local storage of a later kernel allocates by `kmalloc_nolock`, which needs cmpxchg16b
/// (mm/slub.c): without it no socket of a governed process gets its owner, and all are refused.
const CPU_CX16: &str = "max,-la57";

/// From the oldest on which anything is expected to work to the newest that Debian has.
pub(super) const RELEASES: &[Release] = &[
    // What it lacks is done without: `governd/src/kernel/lack.rs`.
    Release { name: "5.10", suite: "bullseye", series: None, is_required: false, cpu: CPU },
    Release { name: "6.1", suite: "bookworm", series: None, is_required: true, cpu: CPU },
    Release { name: "6.12", suite: "trixie", series: None, is_required: true, cpu: CPU },
    Release {
        name: "6.18",
        suite: "trixie-backports",
        series: Some("6.18"),
        is_required: true,
        cpu: CPU_CX16,
    },
    Release { name: "newest", suite: "sid", series: None, is_required: true, cpu: CPU_CX16 },
];

/// The chosen releases in the table's order; all of them if none is named.
pub(super) fn chosen(names: &[String]) -> Result<Vec<&'static Release>> {
    for name in names {
        RELEASES.iter().find(|release| release.name == name).with_context(|| {
            let known: Vec<_> = RELEASES.iter().map(|release| release.name).collect();
            format!("no kernel {name}; hint: there are {}", known.join(", "))
        })?;
    }
    let is_chosen =
        |release: &&Release| names.is_empty() || names.iter().any(|name| name == release.name);
    Ok(RELEASES.iter().filter(is_chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_chosen_by_name_and_kept_in_order() {
        let names = |names: &[&str]| -> Vec<&str> {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            chosen(&names).unwrap().iter().map(|release| release.name).collect()
        };
        assert_eq!(names(&[]), ["5.10", "6.1", "6.12", "6.18", "newest"]);
        assert_eq!(names(&["newest", "6.1"]), ["6.1", "newest"]);
        let error = chosen(&["4.19".to_owned()]).unwrap_err();
        assert!(error.to_string().ends_with("there are 5.10, 6.1, 6.12, 6.18, newest"), "{error}");
    }
}
