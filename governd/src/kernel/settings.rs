//! What the programs are told of a policy as a whole: mostly what they need not look for.

use governd_common::{
    address::Address,
    table::{RuleBlock, Settings, Subject, entry_flag, settings_flag, subject_flag},
    verdict::{Mode, Verdict},
};

use super::limits;
use crate::policy::image::TableImage;

/// The settings of a slot that is written whole.
pub(super) fn of(generation: u64, image: &TableImage) -> Settings {
    let [any_exe, any_uid, any_cgroup] = image.any;
    let enforces = image.subjects.iter().any(|(_, subject)| subject.mode == Mode::Enforce as u8);
    let mut flags = image.flags | settings_flag::COMPLETE;
    if enforces {
        flags |= settings_flag::ENFORCES;
    }
    if image.subjects.iter().any(|(subject, _)| *subject != 0) {
        flags |= settings_flag::HAS_AGENTS;
    }
    if leaves_ordinary_free(image) {
        flags |= settings_flag::ORDINARY_FREE;
    }
    if !image.delegations.is_empty() {
        flags |= settings_flag::HAS_DELEGATIONS;
    }
    if !image.parents.is_empty() {
        flags |= settings_flag::HAS_PARENTS;
    }
    if !image.cgroups.is_empty() {
        flags |= settings_flag::HAS_CGROUPS;
    }
    flags |= limits::flags(image);
    Settings {
        generation,
        flags,
        selector_words: image.selector_words,
        any_exe: image.without_scripts(&any_exe),
        any_uid,
        any_cgroup,
    }
}

/// Whether all that the policy says of who is not registered is about names and services of the
/// host's own, and nothing of it could quarantine them.
fn leaves_ordinary_free(image: &TableImage) -> bool {
    let is_free = |settings: &Subject| {
        settings.default_verdict == Verdict::Allow as u8
            && settings.flags & subject_flag::QUIET_DEFAULT != 0
    };
    let halts =
        |block: &RuleBlock| block.entries.iter().any(|entry| entry.flags & entry_flag::HALT != 0);
    image.subjects.iter().any(|(subject, settings)| *subject == 0 && is_free(settings))
        && image
            .networks
            .iter()
            .all(|(subject, address, prefix, _)| *subject != 0 || is_of_host(address, *prefix))
        && image.blocks.iter().all(|(subject, _, block)| *subject != 0 || !halts(block))
}

/// Whether a network holds loopback addresses and no others.
fn is_of_host(address: &Address, prefix: u8) -> bool {
    /// 127.0.0.0/8 in the 128-bit form.
    const PREFIX_V4: u8 = 96 + 8;
    address.is_loopback() && prefix >= if address.is_v4() { PREFIX_V4 } else { 128 }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn networks_of_the_host_itself_leave_ordinary_programs_free_and_others_do_not() {
        let free = Subject {
            mode: Mode::Enforce as u8,
            default_verdict: Verdict::Allow as u8,
            flags: subject_flag::QUIET_DEFAULT,
            default_rule: 0,
            members: Subject::ALONE,
        };
        for (subject, address, prefix, expected) in [
            (0, "127.0.0.0", 104, true),
            (0, "127.0.0.1", 128, true),
            (0, "::1", 128, true),
            (0, "::1", 127, false),
            (0, "127.0.0.0", 103, false),
            (0, "10.0.0.0", 104, false),
            (7, "10.0.0.0", 104, true),
        ] {
            let at = address.parse::<IpAddr>().unwrap();
            let image = TableImage {
                subjects: vec![(0, free)],
                networks: vec![(subject, at.into(), prefix, 1)],
                ..TableImage::default()
            };
            let is_free = of(1, &image).flags & settings_flag::ORDINARY_FREE != 0;
            assert_eq!(is_free, expected, "{subject} {address}/{prefix}");
        }
    }
}
