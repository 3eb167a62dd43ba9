//! The embedded object against the names that the daemon knows it by.

use std::collections::BTreeSet;

use governd_common::names::{map, program};

use super::host::is_root;
use crate::kernel::{KernelOptions, attach, layout, load::load_object};

#[test]
fn the_object_has_the_maps_and_programs_that_the_names_say() {
    if !is_root() {
        return;
    }
    let layout = layout::of_kernel().unwrap();
    let collection = load_object(&KernelOptions::default(), &layout, None).unwrap();
    let (maps, programs) = collection.names();
    let maps: BTreeSet<&str> = maps.into_iter().filter(|name| !name.starts_with('.')).collect();
    assert_eq!(maps, BTreeSet::from(map::ALL));
    let programs: BTreeSet<&str> = programs.into_iter().collect();
    assert_eq!(programs, BTreeSet::from(program::ALL));
    assert_eq!(programs, attach::programs().collect());
}
