//! The way of the programs at interfaces to who attaches them, before the other programs are
//! loaded: to attach one takes the kernel a grace period, in which it can verify others.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::mpsc::{self, Receiver, Sender},
};

use governd_common::names::program;

use super::{
    attach::AT_INTERFACES,
    frames::{Frames, Way},
};

/// The end of who loads the programs. By default nobody waits for them.
#[derive(Debug, Default)]
pub struct Early(Option<Sender<Part>>);

/// Where they arrive.
#[derive(Debug)]
pub struct Coming(Receiver<Part>);

#[derive(Debug)]
enum Part {
    /// How they are attached, and where what holds them is to be pinned.
    Way(Way, Option<PathBuf>),
    Program(&'static str, OwnedFd),
}

impl Early {
    /// Both ends.
    pub fn new() -> (Self, Coming) {
        let (sender, receiver) = mpsc::channel();
        (Self(Some(sender)), Coming(receiver))
    }

    pub(super) fn way(&self, way: Way, pins: Option<PathBuf>) {
        self.send(|| Some(Part::Way(way, pins)));
    }

    /// Whether somebody waits for a program.
    pub(super) fn awaits(&self, name: &str) -> bool {
        self.0.is_some() && AT_INTERFACES.contains(&name)
    }

    /// A program is loaded.
    pub(super) fn program(&self, name: &'static str, program: BorrowedFd<'_>) {
        if self.awaits(name) {
            let program = || program.try_clone_to_owned().ok();
            self.send(|| Some(Part::Program(name, program()?)));
        }
    }

    /// Who waited may have gone.
    fn send(&self, part: impl FnOnce() -> Option<Part>) {
        if let Some(sender) = &self.0
            && let Some(part) = part()
        {
            sender.send(part).ok();
        }
    }
}

impl Coming {
    /// Waits for the programs; `None` where one is not loaded.
    pub fn wait(self) -> Option<Frames> {
        let (mut way, mut frames, mut packets) = (None, None, None);
        for part in self.0 {
            match part {
                Part::Way(found, pins) => way = Some((found, pins)),
                Part::Program(program::FRAME, program) => frames = Some(program),
                Part::Program(_, program) => packets = Some(program),
            }
            if frames.is_some() && packets.is_some() {
                break;
            }
        }
        let (way, pins) = way?;
        Some(Frames::new(frames?, packets?, way, pins))
    }
}
