//! Where the cgroup v2 tree is.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use super::KernelError;

/// `CGROUP2_SUPER_MAGIC`, include/uapi/linux/magic.h.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// The mount point of the cgroup v2 tree: `/sys/fs/cgroup`, or beside cgroup v1 on a hybrid host
/// `/sys/fs/cgroup/unified`.
///
/// # Errors
/// If mounts cannot be read or none of them is cgroup v2.
pub fn root() -> Result<PathBuf, KernelError> {
    let mounts = fs::read("/proc/self/mountinfo").map_err(KernelError::Mounts)?;
    find_root(&mounts).ok_or(KernelError::NoCgroup)
}

/// The first mount whose root is the tree's own: others show only a part of it.
fn find_root(mounts: &[u8]) -> Option<PathBuf> {
    mounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let root = fields.nth(3)?;
        let mount_point = fields.next()?;
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        (kind == b"cgroup2" && root == b"/").then(|| unescape(mount_point))
    })
}

/// Undoes the octal escapes of /proc/self/mountinfo (fs/proc_namespace.c, `mangle`).
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let escape = (*first == b'\\').then(|| after.first_chunk::<3>()).flatten();
        let code = escape.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(byte);
            rest = after.get(3..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Opens the directory of a cgroup to attach to.
pub(crate) fn open(path: &Path) -> Result<File, KernelError> {
    let failed = |source| KernelError::Cgroup { path: path.to_owned(), source };
    let directory = File::open(path).map_err(failed)?;
    let kind = rustix::fs::fstatfs(&directory).map_err(|errno| failed(errno.into()))?.f_type;
    if kind as u64 == CGROUP2_MAGIC {
        Ok(directory)
    } else {
        Err(KernelError::NotCgroup { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_on_hybrid_and_unified_hosts() {
        let rows: [(&[u8], Option<&str>); 4] = [
            (
                b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                  32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                  41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
                Some("/sys/fs/cgroup/unified"),
            ),
            (
                b"30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n",
                Some("/sys/fs/cgroup"),
            ),
            (
                b"30 23 0:26 /a/b /mnt/part rw - cgroup2 cgroup2 rw\n\
                  31 23 0:26 / /mnt/a\\040b rw shared:4 master:1 - cgroup2 cgroup2 rw\n",
                Some("/mnt/a b"),
            ),
            (b"30 23 0:26 / /sys rw - sysfs sysfs rw\n\nbroken line\n", None),
        ];
        for (mounts, expected) in rows {
            assert_eq!(find_root(mounts).as_deref(), expected.map(Path::new));
        }
    }

    #[test]
    fn a_directory_outside_is_refused() {
        let error = open(Path::new("/proc")).unwrap_err();
        assert_eq!(error.to_string(), "/proc is not in a cgroup v2 file system");
        let error = open(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(error.to_string(), "cannot open cgroup /nonexistent");
    }
}
