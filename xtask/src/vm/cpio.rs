//! Writes the archive that a kernel unpacks as its first file system: cpio in the "newc" form, as
//! the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst` describes it.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

const FOLDER: u32 = 0o040_000;
/// Of a folder that nobody says more about.
const PERMISSIONS: u32 = 0o755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;
/// Headers and contents begin at multiples of this.
const ALIGNMENT: usize = 4;

/// An archive in the making. Paths are relative to the root and have no leading slash.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
}

/// What a header says beside the name.
#[derive(Clone, Copy)]
struct Entry {
    mode: u32,
    /// Major and minor number of a device.
    device: (u32, u32),
}

impl Archive {
    /// Adds a folder, and those above it, unless they are there.
    pub(super) fn folder(&mut self, path: &str) -> Result<()> {
        self.folder_with(path, PERMISSIONS)
    }

    /// The same with these permission bits.
    pub(super) fn folder_with(&mut self, path: &str, permissions: u32) -> Result<()> {
        if path.is_empty() || self.folders.contains(path) {
            return Ok(());
        }
        self.parent(path)?;
        self.folders.insert(path.to_owned());
        self.entry(path, Entry { mode: FOLDER | permissions, device: (0, 0) }, &[])
    }

    /// Adds a file with these permission bits.
    pub(super) fn file(&mut self, path: &str, permissions: u32, contents: &[u8]) -> Result<()> {
        self.parent(path)?;
        self.entry(path, Entry { mode: FILE | permissions, device: (0, 0) }, contents)
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.parent(path)?;
        self.entry(path, Entry { mode: LINK, device: (0, 0) }, target.as_bytes())
    }

    /// Adds a character device.
    pub(super) fn device(&mut self, path: &str, major: u32, minor: u32) -> Result<()> {
        self.parent(path)?;
        self.entry(path, Entry { mode: CHARACTER_DEVICE, device: (major, minor) }, &[])
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", Entry { mode: 0, device: (0, 0) }, &[])?;
        Ok(self.bytes)
    }

    fn parent(&mut self, path: &str) -> Result<()> {
        path.rsplit_once('/').map_or(Ok(()), |(parent, _)| self.folder(parent))
    }

    fn entry(&mut self, path: &str, entry: Entry, contents: &[u8]) -> Result<()> {
        let size = u32::try_from(contents.len())
            .with_context(|| format!("{path} is too large for the initramfs"))?;
        let name_size = u32::try_from(path.len() + 1).context("a path is too long")?;
        self.entries += 1;
        let (major, minor) = entry.device;
        let (owner, group, links, time, check) = (0, 0, 1, 0, 0);
        self.bytes.extend_from_slice(b"070701");
        for field in [
            self.entries, // The inode number; files that share one would be hard links.
            entry.mode,
            owner,
            group,
            links,
            time,
            size,
            0, // Major and minor number of the device that the file is on.
            0,
            major,
            minor,
            name_size,
            check,
        ] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(contents);
        self.align();
        Ok(())
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::{fs, io::Write};

    use super::*;
    use crate::place;

    /// Name, mode and contents of each entry, read as the kernel reads them.
    fn read(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut at = 0;
        while at < archive.len() {
            assert_eq!(at % ALIGNMENT, 0);
            assert_eq!(&archive[at..at + 6], b"070701");
            let field = |index: usize| {
                let from = at + 6 + 8 * index;
                let text = std::str::from_utf8(&archive[from..from + 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let name_from = at + 110;
            let name_to = name_from + field(11) as usize;
            assert_eq!(archive[name_to - 1], 0);
            let name = String::from_utf8(archive[name_from..name_to - 1].to_vec()).unwrap();
            let from = name_to.next_multiple_of(ALIGNMENT);
            let to = from + field(6) as usize;
            entries.push((name, field(1), archive[from..to].to_vec()));
            at = to.next_multiple_of(ALIGNMENT);
        }
        entries
    }

    fn sample() -> Vec<u8> {
        let mut archive = Archive::default();
        archive.device("dev/console", 5, 1).unwrap();
        archive.file("a/b/c", 0o755, b"odd").unwrap();
        archive.file("a/d", 0o644, b"").unwrap();
        archive.link("a/e", "d").unwrap();
        archive.folder("a/b").unwrap();
        archive.finish().unwrap()
    }

    #[test]
    fn folders_come_before_what_is_in_them_and_once() {
        let entries = read(&sample());
        let list: Vec<_> =
            entries.iter().map(|(name, mode, _)| format!("{mode:o} {name}")).collect();
        assert_eq!(
            list,
            [
                "40755 dev",
                "20600 dev/console",
                "40755 a",
                "40755 a/b",
                "100755 a/b/c",
                "100644 a/d",
                "120777 a/e",
                "0 TRAILER!!!"
            ]
        );
        assert_eq!(entries[4].2, b"odd");
    }

    #[test]
    fn another_program_reads_the_archive() {
        let Some(cpio) = place::program("cpio").map(Command::new).or_else(busybox) else {
            return; // Nobody else here reads cpio; the test above has its own reader.
        };
        let folder = tempfile::tempdir().unwrap();
        let mut cpio = cpio;
        let mut child = cpio
            .args(["-i", "-d", "a/b/c"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&sample()).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(fs::read(folder.path().join("a/b/c")).unwrap(), b"odd");
    }

    fn busybox() -> Option<Command> {
        let mut command = Command::new(place::program("busybox")?);
        command.arg("cpio");
        Some(command)
    }
}
