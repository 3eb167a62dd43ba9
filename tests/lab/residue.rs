//! What a process holds in the kernel's BPF tables, and whether any of it is still there.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{command::run, wait};

/// The `fdinfo` line of a program array (`BPF_MAP_TYPE_PROG_ARRAY`, include/uapi/linux/bpf.h).
const PROGRAM_ARRAY: [&str; 2] = ["map_type:", "3"];

/// Programs, maps and links by kernel id.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Residue {
    programs: BTreeSet<u64>,
    maps: BTreeSet<u64>,
    links: BTreeSet<u64>,
}

impl Residue {
    /// What a process holds open, by its `fdinfo`, but for program arrays: to look for one is to
    /// open it, and one that is opened while the kernel empties it can stay for good
    /// (`prog_array_map_clear`, kernel/bpf/arraymap.c, takes a reference for work that is queued
    /// already). What such an array holds are programs, and these have to vanish.
    ///
    /// # Errors
    ///
    /// Fails if the process is gone.
    pub fn held_by(pid: u32) -> Result<Self> {
        let mut held = Self::default();
        let directory = format!("/proc/{pid}/fdinfo");
        for entry in fs::read_dir(&directory).with_context(|| format!("reading {directory}"))? {
            // A file that was closed in between holds nothing.
            let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
            if text.lines().any(|line| line.split_whitespace().eq(PROGRAM_ARRAY)) {
                continue;
            }
            for (field, ids) in [
                ("prog_id:", &mut held.programs),
                ("map_id:", &mut held.maps),
                ("link_id:", &mut held.links),
            ] {
                let lines = text.lines().filter_map(|line| line.strip_prefix(field));
                ids.extend(lines.filter_map(|id| id.trim().parse::<u64>().ok()));
            }
        }
        Ok(held)
    }

    /// How many programs, maps and links.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.programs.len(), self.maps.len(), self.links.len())
    }

    /// What of it the kernel still has. Only these maps are looked at, see [`Residue::held_by`].
    ///
    /// # Errors
    ///
    /// Fails if `bpftool` does.
    pub fn remaining(&self) -> Result<Self> {
        let programs = &self.programs & &listed("prog")?;
        let links = &self.links & &listed("link")?;
        let mut maps = BTreeSet::new();
        for id in &self.maps {
            let shown = run(Command::new("bpftool").args(["map", "show", "id", &id.to_string()]))?;
            if shown.code == Some(0) {
                maps.insert(*id);
            }
        }
        Ok(Self { programs, maps, links })
    }

    /// Waits until nothing of it is left; the kernel frees some of it a moment later.
    ///
    /// # Errors
    ///
    /// Fails, naming the ids, if something stays.
    pub fn must_vanish(&self) -> Result<()> {
        ensure!(*self != Self::default(), "the process held no program, map or link");
        let mut left = self.clone();
        wait::until("removal of every program, map and link", wait::PATIENCE, || {
            left = left.remaining()?;
            Ok((left == Self::default()).then_some(()))
        })
        .with_context(|| format!("left: {left:?}"))
    }
}

/// What there is of a kind. `bpftool` fails where another process takes away what it is about to
/// show; then it is asked again.
fn listed(kind: &str) -> Result<BTreeSet<u64>> {
    let mut said = String::new();
    let text = wait::until("a list of bpftool", wait::PATIENCE, || {
        let finished = run(Command::new("bpftool").args(["-j", kind, "show"]))?;
        said = finished.to_string();
        Ok(finished.success().ok())
    })
    .with_context(|| format!("bpftool {kind} show: {said}"))?;
    let listed: serde_json::Value = serde_json::from_str(&text).context("reading bpftool")?;
    let entries = listed.as_array().into_iter().flatten();
    Ok(entries.filter_map(|entry| entry.get("id")?.as_u64()).collect())
}
