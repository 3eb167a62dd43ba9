//! Archives whose bytes depend on nothing but what is put in.

use std::io::Write;

use anyhow::Result;
use flate2::{Compression, GzBuilder};

/// A tar archive of files of root, in the order given, with the folders above them.
pub(super) fn tar<'a>(
    files: impl IntoIterator<Item = (&'a str, u32, &'a [u8])>,
    epoch: u32,
) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut folders = std::collections::BTreeSet::new();
    for (path, mode, bytes) in files {
        for (at, _) in path.match_indices('/') {
            let folder = path.split_at(at + 1).0;
            if folders.insert(folder.to_owned()) {
                let mut header = header(epoch, 0o755, 0);
                header.set_entry_type(tar::EntryType::Directory);
                archive.append_data(&mut header, folder, std::io::empty())?;
            }
        }
        let mut header = header(epoch, mode, bytes.len());
        archive.append_data(&mut header, path, bytes)?;
    }
    Ok(archive.into_inner()?)
}

fn header(epoch: u32, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::from(epoch));
    header.set_size(size as u64);
    header
}

/// Compresses, without name and time.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn an_archive_has_each_folder_once_and_nothing_of_this_machine() {
        let files = [("a/b/c", 0o755, &b"x"[..]), ("a/d", 0o644, &b"yz"[..])];
        let bytes = tar(files, 1_700_000_000).unwrap();
        assert_eq!(bytes, tar(files, 1_700_000_000).unwrap());
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                let header = entry.header();
                assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
                assert_eq!(header.mtime().unwrap(), 1_700_000_000);
                let path = entry.path().unwrap().display().to_string();
                format!("{path} {:o} {text}", header.mode().unwrap())
            })
            .collect();
        assert_eq!(entries, ["a/ 755 ", "a/b/ 755 ", "a/b/c 755 x", "a/d 644 yz"]);
    }

    #[test]
    fn compressed_is_what_was_given() {
        let compressed = gzip(b"text").unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(compressed.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
    }
}
