//! The program at network interfaces.

use std::{
    fs::{self, File},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
    thread,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::{filter, host::is_root, pins};
use crate::kernel::{
    Early, Frames, Harm, Interface, Kernel, KernelError, Lack, Look, Offer, Pins, clear_unheld,
    layout, tc::TrafficControl,
};

/// Every network namespace has a loopback interface, with this index.
const LOOPBACK: u32 = 1;
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// Has the calling thread enter a network namespace of its own.
pub(super) fn enter_new() -> u64 {
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
fn what_is_attached_early_goes_with_the_daemon_until_it_is_kept() {
    if !is_root() || Offer::of_kernel().unwrap().lacks().contains(&Lack::Interfaces) {
        return;
    }
    let host = pins::Host::new("early");
    thread::spawn(move || {
        let here = Interface { namespace: enter_new(), index: LOOPBACK };
        let (early, coming) = Early::new();
        let waiting = thread::spawn(|| coming.wait());
        let _kernel = host.load_early(64 * 1_024, early).unwrap();
        let mut frames = waiting.join().unwrap().unwrap();
        let mut link = frames.attach(here, Look::Frames).unwrap();
        assert_eq!((link.is_intact(), pins_of(host.root())), (true, 0));
        frames.keep([(here, &mut link)].into_iter()).unwrap();
        assert_eq!((link.pin().is_some(), pins_of(host.root())), (true, 1));
        link.detach().unwrap();
        let later = frames.attach(here, Look::Packets).unwrap();
        assert_eq!((later.pin().is_some(), pins_of(host.root())), (true, 1));
        later.detach().unwrap();
    })
    .join()
    .unwrap();
}

#[test]
fn nobody_waits_for_programs_that_are_not_loaded() {
    let (early, coming) = Early::new();
    drop(early);
    assert!(coming.wait().is_none());
}

#[test]
fn a_link_at_an_interface_outlives_the_daemon_and_goes_with_its_namespace() {
    if is_root() && layout::of_kernel().unwrap().has_interfaces != 0 {
        outlives_the_daemon("links", Kernel::load_frames);
    }
}

#[test]
fn a_filter_outlives_the_daemon_as_a_link_does() {
    if filter::are_needed() {
        outlives_the_daemon("filters", by_filters);
    }
}

#[test]
fn filters_of_another_layout_stay_until_the_policy_is_in_force_and_are_taken_off_then() {
    if !filter::are_needed() {
        return;
    }
    thread::spawn(|| {
        let host = pins::Host::new("layouts");
        let here = Interface { namespace: enter_new(), index: LOOPBACK };
        let mut older = host.load().unwrap();
        drop(by_filters(&mut older).unwrap().attach(here, Look::Frames).unwrap());
        host.enforce(&mut older);
        drop(older);
        let mut newer = host.load_with(128 * 1_024).unwrap();
        let frames = by_filters(&mut newer).unwrap();
        let link = frames.attach(here, Look::Frames).unwrap();
        assert_eq!((clear_unheld().unwrap(), filters()), (0, 2));
        host.enforce(&mut newer);
        assert_eq!((clear_unheld().unwrap(), filters()), (0, 1));
        assert!(link.is_intact());
        link.detach().unwrap();
        assert_eq!(filters(), 0);
    })
    .join()
    .unwrap();
}

fn by_filters(kernel: &mut Kernel) -> Result<Frames, KernelError> {
    kernel.load_frames_for(kernel.by_filters()?)
}

/// Those of governd in the thread's namespace.
fn filters() -> usize {
    TrafficControl::open().unwrap().all().unwrap().len()
}

fn outlives_the_daemon(name: &str, load: fn(&mut Kernel) -> Result<Frames, KernelError>) {
    // Its socket is not to keep the other namespace.
    let host = pins::Host::new(name);
    thread::spawn(move || {
        let home = File::open(NAMESPACE).unwrap();
        let here = Interface { namespace: enter_new(), index: LOOPBACK };
        let mut kernel = host.load().unwrap();
        drop(load(&mut kernel).unwrap().attach(here, Look::Packets).unwrap());
        drop(kernel);

        let mut kernel = host.load().unwrap();
        let frames = load(&mut kernel).unwrap();
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

        if frames.mark().is_some() {
            // By its socket a filter keeps the namespace. One whose daemon was killed goes when
            // governd leaves the host.
            assert_eq!(filters(), 0);
            drop(frames.attach(here, Look::Packets).unwrap());
            drop((frames, kernel));
            assert_eq!(filters(), 1);
            assert_eq!(Pins::remove_all(host.root(), None).unwrap(), 1);
            assert_eq!((clear_unheld().unwrap(), filters()), (0, 0));
            return;
        }
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
