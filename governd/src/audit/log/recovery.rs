//! What a log is when it is opened for writing: its last segment, its tree, its last checkpoint.

use std::{io, path::Path};

use super::{
    append::{Damage, Opened},
    segment::{self, Entry, Recovered, Segment, decode_all, parse_header, read_text, read_whole},
    storage::Filesystem,
    values,
};
use crate::audit::{
    checkpoint::{Checkpoint, Opens as _, note_len},
    keys::Keys,
    tree::{Frontier, Hash, leaf_hash},
};

/// Looks at a log.
pub(super) struct Recovery<'a, F> {
    pub(super) filesystem: &'a F,
    pub(super) directory: &'a Path,
    pub(super) keys: &'a Keys,
}

/// What it found.
pub(super) struct Found<F> {
    pub(super) segment: Segment<F>,
    /// The tree of the durable records.
    pub(super) tree: Frontier,
    /// Size of the last checkpoint.
    pub(super) signed: u64,
    pub(super) opened: Opened,
}

impl<F: Filesystem> Recovery<'_, F> {
    pub(super) fn run(&self) -> io::Result<Found<F::File>> {
        values::sweep(self.filesystem, self.directory)?;
        let bases = segment::bases(self.filesystem, self.directory)?;
        let Some((base, earlier)) = bases.split_last() else {
            let segment = self.create(Frontier::default())?;
            let (tree, opened) = (Frontier::default(), Opened::default());
            return Ok(Found { segment, tree, signed: 0, opened });
        };
        let signed = self.last_checkpoint(&bases)?;
        let (filesystem, directory) = (self.filesystem, self.directory);
        match Segment::recover(filesystem, directory, *base, |text| self.last_note(text))? {
            Recovered::Usable { segment, cut_bytes, entries } => {
                self.usable(segment, &entries, cut_bytes, signed)
            }
            Recovered::Unfinished => {
                // It was being made when the writer ended: what is behind the one before it.
                let before = self.tree_of(earlier, *base)?;
                let segment = self.create(before)?;
                self.usable(segment, &[], 0, signed)
            }
            Recovered::Damaged { first, next } => {
                // One beyond, should the damaged segment count no record at all.
                self.behind(&bases, first, next.max(base + 1), signed)
            }
        }
    }

    fn usable(
        &self,
        segment: Segment<F::File>,
        entries: &[Entry],
        cut_bytes: u64,
        signed: Option<Checkpoint>,
    ) -> io::Result<Found<F::File>> {
        let mut tree = segment.before().clone();
        let mut is_as_signed = true;
        let signed_size = signed.as_ref().map_or(0, |checkpoint| checkpoint.size);
        let mut compare = |tree: &Frontier| {
            if let Some(checkpoint) = &signed
                && tree.size() == checkpoint.size
            {
                is_as_signed = tree.root() == checkpoint.root;
            }
        };
        compare(&tree);
        for entry in entries {
            tree.push(entry.leaf);
            compare(&tree);
        }
        let end = segment.end();
        if signed_size > end || !is_as_signed {
            let first = if is_as_signed { end } else { segment.base };
            let next = signed_size.max(end).max(segment.base + 1);
            let bases = segment::bases(self.filesystem, self.directory)?;
            return self.behind(&bases, first, next, signed);
        }
        let opened = Opened { cut_bytes, unsigned: end - signed_size, damage: None };
        Ok(Found { segment, tree, signed: signed_size, opened })
    }

    /// Begins a new segment behind damage.
    fn behind(
        &self,
        bases: &[u64],
        first: u64,
        next: u64,
        signed: Option<Checkpoint>,
    ) -> io::Result<Found<F::File>> {
        let signed = signed.map_or(0, |checkpoint| checkpoint.size);
        let next = next.max(signed);
        let tree = self.tree_of(bases, next)?;
        let segment = self.create(tree.clone())?;
        let base = bases.iter().rfind(|base| **base <= first).copied().unwrap_or_default();
        let path = segment::data_path(self.directory, base);
        let damage = Some(Damage { first, path });
        let opened = Opened { cut_bytes: 0, unsigned: next - signed, damage };
        Ok(Found { segment, tree, signed, opened })
    }

    fn create(&self, before: Frontier) -> io::Result<Segment<F::File>> {
        Segment::create(self.filesystem, self.directory, before)
    }

    /// The tree of the first so many records, from what the indices of these segments say. A place
    /// whose entry is gone counts as an empty line, which no record is: the tree then differs from
    /// the one that was signed, as it must.
    fn tree_of(&self, bases: &[u64], size: u64) -> io::Result<Frontier> {
        let gone = leaf_hash(b"");
        let mut indices = Vec::new();
        let mut tree = Frontier::default();
        for base in bases.iter().rev().filter(|base| **base < size) {
            let path = segment::index_path(self.directory, *base);
            let content = match self.filesystem.open(&path) {
                Ok(file) => read_whole(&file)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(error),
            };
            let before = parse_header(&content, *base);
            indices.push((*base, decode_all(&content, *base)));
            if let Some(before) = before {
                tree = before;
                break;
            }
        }
        for (base, entries) in indices.iter().rev() {
            fill(&mut tree, *base, gone);
            for entry in entries {
                if tree.size() < size {
                    tree.push(entry.as_ref().map_or(gone, |entry| entry.leaf));
                }
            }
        }
        fill(&mut tree, size, gone);
        Ok(tree)
    }

    /// The last checkpoint of the log that its keys signed.
    fn last_checkpoint(&self, bases: &[u64]) -> io::Result<Option<Checkpoint>> {
        for base in bases.iter().rev() {
            let file = match self.filesystem.open(&segment::notes_path(self.directory, *base)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let text = read_text(&file)?;
            if let (_, Some(note)) = self.last_note(&text) {
                return Ok(self.keys.open(note).ok());
            }
        }
        Ok(None)
    }

    /// Where the last note that the keys signed ends, and that note. Without one, whole notes are
    /// kept as they are.
    fn last_note<'t>(&self, text: &'t str) -> (usize, Option<&'t str>) {
        let mut notes = Vec::new();
        let mut end = 0;
        while let Some(rest) = text.get(end..)
            && let Some(len) = note_len(rest)
        {
            notes.push((end, len));
            end += len;
        }
        for (start, len) in notes.into_iter().rev() {
            let note = text.get(start..start + len).unwrap_or_default();
            if self.keys.open(note).is_ok() {
                return (start + len, Some(note));
            }
        }
        (end, None)
    }
}

fn fill(tree: &mut Frontier, size: u64, leaf: Hash) {
    while tree.size() < size {
        tree.push(leaf);
    }
}
