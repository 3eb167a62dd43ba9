//! What the programs are told of a policy as a whole: mostly what they need not look for.

use governd_common::{
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
    if !image.cgroups.is_empty() {
        flags |= settings_flag::HAS_CGROUPS;
    }
    flags |= limits::flags(image);
    Settings {
        generation,
        flags,
        selector_words: image.selector_words,
        any_exe,
        any_uid,
        any_cgroup,
    }
}

/// Whether all that the policy says of who is not registered is about names, and nothing of it
/// could quarantine them.
fn leaves_ordinary_free(image: &TableImage) -> bool {
    let is_free = |settings: &Subject| {
        settings.default_verdict == Verdict::Allow as u8
            && settings.flags & subject_flag::QUIET_DEFAULT != 0
    };
    let halts =
        |block: &RuleBlock| block.entries.iter().any(|entry| entry.flags & entry_flag::HALT != 0);
    image.subjects.iter().any(|(subject, settings)| *subject == 0 && is_free(settings))
        && image.networks.iter().all(|(subject, ..)| *subject != 0)
        && image.blocks.iter().all(|(subject, _, block)| *subject != 0 || !halts(block))
}
