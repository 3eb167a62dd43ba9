//! What programs cost the verifier, against the committed snapshot: a program that grows by more
//! than a twentieth does so on purpose. The number of instructions that the verifier looks at
//! follows what the program may do, and does not depend on how fast or busy the machine is.
//!
//! Kernels count differently, so only the series of the snapshot is compared, and less is no
//! failure: the limit is on growth.

use std::collections::BTreeMap;

use governd_common::layout::KernelLayout;

use super::host::is_root;
use crate::kernel::{Offer, probe::probe_programs};

const SNAPSHOT: &str = include_str!("instructions.tsv");
const SERIES: &str = "6.18.";
const GROWTH_PERCENT_MAX: u64 = 5;
/// Stands behind the name of a program that is another one for kernels before Linux 5.17.
const WITHOUT_LOOPS: &str = " without bpf_loop";

fn snapshot() -> BTreeMap<String, u64> {
    let rows = SNAPSHOT.lines().filter_map(|line| line.split_once('\t'));
    rows.map(|(name, count)| (name.to_owned(), count.parse().unwrap())).collect()
}

/// What this kernel's verifier counts, by program.
fn counted() -> BTreeMap<String, u64> {
    let offer = Offer::of_kernel().unwrap();
    let mut counts = counted_of(&offer);
    let layout = KernelLayout { has_loops: 0, ..offer.layout };
    for (name, count) in counted_of(&Offer { layout, ..offer }) {
        if counts.get(&name) != Some(&count) {
            counts.insert(format!("{name}{WITHOUT_LOOPS}"), count);
        }
    }
    counts
}

fn counted_of(offer: &Offer) -> BTreeMap<String, u64> {
    let probes = probe_programs(offer);
    let programs = probes.iter().filter_map(|probe| {
        let name = probe.name.strip_prefix("program ")?;
        let count = probe.detail.strip_prefix("loads, ")?.strip_suffix(" instructions verified")?;
        Some((name.to_owned(), count.parse().unwrap()))
    });
    programs.collect()
}

/// What is to be changed in the snapshot, if anything.
fn growth(snapshot: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> Vec<String> {
    let grown = now.iter().filter_map(|(name, count)| match snapshot.get(name) {
        Some(before) if *count * 100 <= *before * (100 + GROWTH_PERCENT_MAX) => None,
        Some(before) => Some(format!("{name}\t{count}\t(was {before})")),
        None => Some(format!("{name}\t{count}\t(is not listed)")),
    });
    let gone = snapshot.keys().filter(|name| !now.contains_key(*name));
    grown.chain(gone.map(|name| format!("{name}\t(is gone)"))).collect()
}

#[test]
fn no_program_grows_unnoticed() {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if !is_root() || !release.starts_with(SERIES) {
        return;
    }
    let growth = growth(&snapshot(), &counted());
    assert!(
        growth.is_empty(),
        "the verifier looks at more than {GROWTH_PERCENT_MAX}% more instructions:\n{}\n\
         hint: make the program smaller, or put these rows into \
         governd/src/kernel/tests/instructions.tsv in the same commit, which says what they buy",
        growth.join("\n")
    );
}

#[test]
fn growth_is_what_exceeds_a_twentieth() {
    let programs = |rows: &[(&str, u64)]| -> BTreeMap<String, u64> {
        rows.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    let before = programs(&[("a", 1_000), ("b", 1_000)]);
    let check = |now: &[(&str, u64)], expected: &[&str]| {
        assert_eq!(growth(&before, &programs(now)), expected);
    };
    check(&[("a", 1_050), ("b", 10)], &[]);
    check(&[("a", 1_051), ("b", 1_000)], &["a\t1051\t(was 1000)"]);
    check(&[("a", 1_000)], &["b\t(is gone)"]);
    check(&[("a", 1), ("b", 1), ("c", 1)], &["c\t1\t(is not listed)"]);
}
