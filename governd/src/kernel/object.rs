//! Changes to the embedded object before it is loaded: flags of maps, which the loader takes from
//! the object alone.
//!
//! A map is described by a variable whose type is a structure; the type of the member `map_flags`
//! stands for the number. A map gets the flags of another by getting the type of its member.

use super::btf::Btf;

/// What the section of type information is called.
const SECTION: &[u8] = b".BTF";
const MEMBER: &str = "map_flags";

/// Offsets in the headers of a 64-bit object (elf(5)).
mod elf {
    pub(super) const SECTIONS_AT: usize = 0x28;
    pub(super) const SECTION_BYTES: usize = 0x3a;
    pub(super) const SECTIONS: usize = 0x3c;
    pub(super) const NAMES_INDEX: usize = 0x3e;
    pub(super) const AT: usize = 0x18;
    pub(super) const BYTES: usize = 0x20;
}

/// The object with the flags of the map `like` for these maps; `None` if it is not built as
/// expected.
pub(super) fn with_flags_of(object: &[u8], like: &str, maps: &[&str]) -> Option<Vec<u8>> {
    let section = section(object, SECTION)?;
    let btf = Btf::parse(object.get(section.clone())?.to_vec()).ok()?;
    let place = |map: &str| {
        let at = section.start + btf.member_type_at(map, MEMBER)?;
        Some(at..at + 4)
    };
    let flags = object.get(place(like)?)?.to_vec();
    let mut changed = object.to_vec();
    for map in maps {
        changed.get_mut(place(map)?)?.copy_from_slice(&flags);
    }
    Some(changed)
}

/// Where a section's contents are.
fn section(object: &[u8], name: &[u8]) -> Option<std::ops::Range<usize>> {
    let headers = number::<8>(object, elf::SECTIONS_AT)?;
    let bytes = number::<2>(object, elf::SECTION_BYTES)?;
    let header = |index: usize| object.get(headers + index * bytes..);
    let contents = |header: &[u8]| {
        let at = number::<8>(header, elf::AT)?;
        Some(at..at.checked_add(number::<8>(header, elf::BYTES)?)?)
    };
    let names = object.get(contents(header(number::<2>(object, elf::NAMES_INDEX)?)?)?)?;
    (0..number::<2>(object, elf::SECTIONS)?).find_map(|index| {
        let header = header(index)?;
        let found = names.get(number::<4>(header, 0)?..)?.split(|byte| *byte == 0).next()?;
        if found == name { contents(header) } else { None }
    })
}

/// A number of so many bytes; the object is little-endian, as the target is.
fn number<const BYTES: usize>(bytes: &[u8], at: usize) -> Option<usize> {
    let found = bytes.get(at..)?.first_chunk::<BYTES>()?;
    let value = found
        .iter()
        .rev()
        .try_fold(0_u64, |value, byte| Some(value.checked_mul(256)? | u64::from(*byte)))?;
    usize::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use governd_common::names::map;

    use super::*;
    use crate::kernel::load::{OBJECT, TRACED};

    #[test]
    fn the_flags_of_some_maps_change_and_nothing_else() {
        let changed = with_flags_of(OBJECT, map::TASKS, &TRACED).unwrap();
        let differences = changed.iter().zip(OBJECT).filter(|(new, old)| new != old).count();
        assert_eq!(changed.len(), OBJECT.len());
        assert!((1..=TRACED.len() * 4).contains(&differences), "{differences}");
        assert_eq!(with_flags_of(OBJECT, map::TASKS, &[map::TASKS]).unwrap(), OBJECT);
        assert_eq!(with_flags_of(OBJECT, map::TASKS, &["none"]), None);
    }

    #[test]
    fn no_piece_of_an_object_makes_it_panic() {
        for len in (0..OBJECT.len()).step_by(9_973) {
            let changed = with_flags_of(&OBJECT[..len], map::TASKS, &TRACED);
            assert!(changed.is_none_or(|changed| changed.len() == len));
        }
        assert_eq!(with_flags_of(&OBJECT[..64], map::TASKS, &TRACED), None);
    }
}
