//! Feeds libFuzzer's inputs to the target that `GOVERND_FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

use governd_fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("GOVERND_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("GOVERND_FUZZ_TARGET={wanted} is no target")).1
});

fuzz_target!(|bytes: &[u8]| (*TARGET)(bytes));
