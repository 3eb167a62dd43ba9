//! What the kernel tells of programs that are loaded.

use aya::{programs::ProgramType, sys::is_program_supported};

use super::host::is_root;
use crate::kernel::Loads;

#[test]
fn the_kernel_tells_who_loads_a_program() {
    if !is_root() {
        return;
    }
    let mut loads = Loads::open().unwrap();
    assert!(is_program_supported(ProgramType::SocketFilter).unwrap());
    let own = std::process::id();
    let found = loads.news();
    assert!(found.iter().any(|load| load.pid == own && load.program != 0), "{found:?}");
    assert!(!loads.news().iter().any(|load| found.contains(load)), "told twice");
}
