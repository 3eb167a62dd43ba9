//! Records as lines of a file that is rotated by size. A batch is durable when it is delivered.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{Batch, Delivered, Destination, Fault, config};

const FILE_MODE: u32 = 0o600;

pub(super) struct RotatedFile {
    path: PathBuf,
    rotate_bytes: u64,
    keep: u32,
    open: Option<Open>,
}

struct Open {
    file: fs::File,
    bytes: u64,
}

impl RotatedFile {
    pub(super) fn new(spec: &config::File) -> Self {
        let config::File { name: _, from: _, path, rotate_bytes, keep } = spec;
        Self { path: path.clone(), rotate_bytes: *rotate_bytes, keep: *keep, open: None }
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let is_full =
            |open: &Open| open.bytes > 0 && open.bytes + text.len() as u64 > self.rotate_bytes;
        if self.open.as_ref().is_some_and(is_full) {
            self.open = None;
            self.rotate()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(Open::at(&self.path)?),
        };
        open.file.write_all(text)?;
        open.file.sync_data()?;
        open.bytes += text.len() as u64;
        Ok(())
    }

    /// Gives each file the next number; the last falls away.
    fn rotate(&self) -> io::Result<()> {
        if self.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        fs::rename(&self.path, self.numbered(1))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).read(true).create(true).mode(FILE_MODE).open(path)?;
        // What a crash or a full disk cut short is delivered again, as a whole line.
        let bytes = whole_lines(&file)?;
        file.set_len(bytes)?;
        Ok(Self { file, bytes })
    }
}

/// Bytes up to the last newline.
fn whole_lines(file: &fs::File) -> io::Result<u64> {
    use std::os::unix::fs::FileExt as _;
    let mut end = file.metadata()?.len();
    let mut chunk = [0; 4_096];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let count = usize::try_from(end - start).unwrap_or(chunk.len());
        let part = chunk.get_mut(..count).unwrap_or_default();
        file.read_exact_at(part, start)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

impl Destination for RotatedFile {
    fn deliver(&mut self, batch: Batch<'_>) -> Result<Delivered, Fault> {
        let mut text = Vec::new();
        for item in batch.items {
            text.extend_from_slice(item.line.as_bytes());
            text.push(b'\n');
        }
        self.write(&text).map_err(|error| {
            // It may hold a part of the batch now, which opening it again cuts away.
            self.open = None;
            Fault::later(&format!("cannot write {}", self.path.display()), error)
        })?;
        Ok(Delivered::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::export::{Item, config::From};

    fn exporter(path: &Path, rotate_bytes: u64, keep: u32) -> RotatedFile {
        RotatedFile::new(&config::File {
            name: "archive".to_owned(),
            from: From::Start,
            path: path.to_owned(),
            rotate_bytes,
            keep,
        })
    }

    fn deliver(exporter: &mut RotatedFile, indices: std::ops::Range<u64>) {
        let items: Vec<Item> =
            indices.map(|index| Item { index, line: format!("{{\"n\":{index}}}") }).collect();
        exporter.deliver(Batch { origin: "governd/a", items: &items }).unwrap();
    }

    #[test]
    fn files_are_rotated_before_they_become_too_large_and_the_oldest_fall_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records.jsonl");
        for (keep, want) in [(0, 1), (1, 2), (3, 4)] {
            let mut exporter = exporter(&path, 40, keep);
            for batch in 0..10 {
                deliver(&mut exporter, batch * 4..batch * 4 + 4);
            }
            let read = |path: &Path| fs::read_to_string(path).unwrap();
            let newest = read(&path);
            assert_eq!(newest.lines().last().unwrap(), "{\"n\":39}");
            let mut files: Vec<_> = fs::read_dir(directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            files.sort();
            assert_eq!(files.len(), want, "{keep}: {files:?}");
            for file in files {
                assert!(read(&file).len() <= 40 && read(&file).ends_with('\n'), "{file:?}");
                fs::remove_file(file).unwrap();
            }
        }
    }

    #[test]
    fn half_a_line_is_cut_when_the_file_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records.jsonl");
        let long = "x".repeat(10_000);
        for (before, kept) in [
            ("", ""),
            ("{\"n\":0}\n", "{\"n\":0}\n"),
            ("{\"n\":0}\n{\"n\"", "{\"n\":0}\n"),
            ("{\"n\"", ""),
            (&format!("{{\"n\":0}}\n{long}"), "{\"n\":0}\n"),
        ] {
            fs::write(&path, before).unwrap();
            deliver(&mut exporter(&path, 1 << 20, 1), 1..2);
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{kept}{{\"n\":1}}\n"));
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("later/records.jsonl");
        let mut exporter = exporter(&path, 1 << 20, 1);
        let items = [Item { index: 0, line: "{}".to_owned() }];
        let batch = Batch { origin: "governd/a", items: &items };
        let fault = exporter.deliver(batch).unwrap_err();
        assert!(matches!(fault, Fault::Later(_)), "{fault}");
        fs::create_dir(directory.path().join("later")).unwrap();
        exporter.deliver(batch).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n");
    }
}
