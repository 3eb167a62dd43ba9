//! Mounts of a mount namespace: which file system (`s_dev`) a mount shows.
//!
//! The device that `stat(2)` reports is the file system's own choice: btrfs gives one per
//! subvolume and overlayfs that of a layer. The kernel's programs see `inode->i_sb->s_dev`, which
//! is what the third field of mountinfo shows (proc_pid_mountinfo(5)), so a file's mount id leads
//! to the right one.

use std::{collections::HashMap, path::Path};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::core::digest::FileVersion;

use super::{limits::MOUNTINFO_BYTES_MAX, read};

/// Mounts by their id.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mounts {
    devices: HashMap<u64, u32>,
}

impl Mounts {
    /// Reads a mountinfo file; an unreadable one has no mounts.
    pub fn read(path: &Path) -> Self {
        read::text(path, MOUNTINFO_BYTES_MAX).map(|text| Self::parse(&text)).unwrap_or_default()
    }

    /// Reads the text of a mountinfo file; lines of another form are left out.
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut fields = line.split(' ');
            let id = fields.next()?.parse().ok()?;
            let (major, minor) = fields.nth(1)?.split_once(':')?;
            Some((id, device(major.parse().ok()?, minor.parse().ok()?)))
        };
        Self { devices: text.lines().filter_map(line).collect() }
    }

    /// The `s_dev` of a mount.
    pub fn device(&self, mount: u64) -> Option<u32> {
        self.devices.get(&mount).copied()
    }
}

/// The kernel's internal form of a device number: 12 bits major, 20 bits minor
/// (include/linux/kdev_t.h).
pub fn device(major: u32, minor: u32) -> u32 {
    (major << 20) | (minor & 0xf_ffff)
}

/// What `statx(2)` says of a file, symbolic links followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FileIdentity {
    /// Id of the mount it was reached through, where the kernel tells (Linux 5.8).
    pub(super) mount: Option<u64>,
    /// Device as `stat(2)` reports it, in the kernel's internal form.
    pub(super) stat_device: u32,
    /// Inode.
    pub(super) inode: u64,
    /// Length in bytes.
    pub(super) bytes: u64,
    /// Time of the last change of anything: seconds since the epoch, and nanoseconds.
    pub(super) changed: (i64, u32),
    /// Hard links; 0 for a file without a name, such as a deleted one or a memfd.
    pub(super) links: u32,
    /// True for a regular file.
    pub(super) is_file: bool,
    /// True if it belongs to root and only root may write it.
    pub(super) is_roots: bool,
}

impl FileIdentity {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let flags = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        // A file system in user space (FUSE) is not asked: it need not answer.
        let stat = statx(CWD, path, AtFlags::STATX_DONT_SYNC, flags).ok()?;
        let has_mount = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        Some(Self {
            mount: has_mount.then_some(stat.stx_mnt_id),
            stat_device: device(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            bytes: stat.stx_size,
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            links: stat.stx_nlink,
            is_file: u32::from(stat.stx_mode) & 0o170_000 == 0o100_000,
            is_roots: stat.stx_uid == 0 && stat.stx_mode & 0o022 == 0,
        })
    }

    /// Which version of the file it is.
    pub(super) fn version(&self) -> FileVersion {
        let Self { stat_device, inode, bytes, changed, .. } = *self;
        FileVersion { device: stat_device, inode, bytes, changed }
    }

    /// The `s_dev`, as far as `mounts` knows the mount; else the device of `stat(2)`, which is the
    /// same on file systems without subvolumes and layers.
    pub(super) fn device(&self, mounts: &Mounts) -> u32 {
        self.mount.and_then(|mount| mounts.device(mount)).unwrap_or(self.stat_device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_gives_the_device_of_a_mount_id() {
        let text = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                    36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw\n\
                    105 27 0:55 / /merged rw - overlay overlay rw,lowerdir=/l\n\
                    broken line\n7 1 x:0 / / rw\n";
        let mounts = Mounts::parse(text);
        assert_eq!(mounts.device(27), Some(device(254, 0)));
        assert_eq!(mounts.device(36), Some(device(98, 0)));
        assert_eq!(mounts.device(105), Some(55));
        assert_eq!(mounts.device(7), None);
        assert_eq!(mounts.devices.len(), 3);
    }

    #[test]
    fn a_real_file_has_the_device_that_the_mount_table_shows() {
        let mounts = Mounts::read(Path::new("/proc/self/mountinfo"));
        let identity = FileIdentity::of(Path::new("/proc/self/exe")).unwrap();
        assert!(identity.is_file && identity.links >= 1);
        let shown = mounts.device(identity.mount.unwrap()).unwrap();
        assert_eq!(identity.device(&mounts), shown);
        assert_eq!(identity.device(&Mounts::default()), identity.stat_device);
    }
}
