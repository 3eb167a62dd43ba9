//! The program at network interfaces.

use std::{
    fs::{self, File},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space},
};

use super::{host::is_root, pins};
use crate::kernel::{Harm, Interface, Lack, Look};

/// Every network namespace has a loopback interface, with this index.
const LOOPBACK: u32 = 1;
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// Has the calling thread enter a network namespace of its own.
fn enter_new() -> u64 {
    // SAFETY: only the network namespace changes, and no descriptor.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
    fs::metadata(NAMESPACE).unwrap().ino()
}

fn pins_of(root: &Path) -> usize {
    let mut folders = vec![root.to_owned()];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found += usize::from(folder.ends_with("frames"));
            }
        }
    }
    found
}

#[test]
fn a_link_at_an_interface_outlives_the_daemon_and_goes_with_its_namespace() {
    if !is_root() {
        return;
    }
    thread::spawn(|| {
        let home = File::open(NAMESPACE).unwrap();
        // Its socket is not to keep the other namespace.
        let host = pins::Host::new("frames");
        let here = Interface { namespace: enter_new(), index: LOOPBACK };
        let mut kernel = host.load().unwrap();
        let link = kernel.load_frames().unwrap().attach(here, Look::Packets);
        if kernel.lacks().contains(&Lack::Interfaces) {
            let refused = link.map(|_| ()).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(Errno::INVAL.raw_os_error()));
            return;
        }
        drop(link.unwrap());
        drop(kernel);

        let mut kernel = host.load().unwrap();
        let frames = kernel.load_frames().unwrap();
        let mut taken = frames.take().unwrap();
        assert_eq!(taken.iter().map(|(interface, _)| *interface).collect::<Vec<_>>(), [here]);
        let (_, mut link) = taken.remove(0);
        assert_eq!((link.tampering().unwrap(), link.look()), (None, Look::Packets));
        assert_eq!(pins_of(host.root()), 1);
        fs::remove_file(link.pin().unwrap()).unwrap();
        let found = link.tampering().unwrap().unwrap();
        assert_eq!((found.harm, found.is_mended), (Harm::Unpinned, true));
        assert_eq!(pins_of(host.root()), 1);

        link.detach().unwrap();
        assert_eq!((pins_of(host.root()), frames.take().unwrap().len()), (0, 0));

        let mut link = frames.attach(here, Look::Frames).unwrap();
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(home.as_fd(), network).unwrap();
        // The kernel takes a namespace down when it gets to it.
        while link.tampering().unwrap().is_none() {
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(frames.take().unwrap().len(), 0, "its interface is gone");
        assert_eq!(pins_of(host.root()), 0);
    })
    .join()
    .unwrap();
}
