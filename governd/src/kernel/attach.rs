//! Attaching: programs to the cgroup and to tracepoints, and the links that hold them there.

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::maps::{Map, MapError};
use aya_obj::generated::bpf_attach_type;
use governd_common::names::{program, tail};

use super::{
    Early, KernelError, Offer,
    collection::{Collection, Refused},
    guard::{Harm, Tampering},
    lack::{Lack, left_out},
    link::Link,
    lsm, sys, unix,
};

/// What a program is attached to.
#[derive(Clone, Copy, Debug)]
enum Target {
    Tracepoint(&'static str),
    /// The hook of a security module, or the tracepoint, that the program was loaded for.
    Loaded,
    /// The governed cgroup, at one of its hooks.
    Cgroup(u32),
}

/// Programs in the order in which they are attached: lineage first, so that no connection is judged
/// before its process can be known.
const PROGRAMS: [(&str, Target); 15] = [
    (program::PROCESS_EXIT, Target::Tracepoint("sched_process_exit")),
    (program::PROCESS_FORK, Target::Tracepoint("sched_process_fork")),
    (program::PROCESS_EXEC, Target::Tracepoint("sched_process_exec")),
    (program::MEMORY_LOCK, Target::Tracepoint("mmap_lock_start_locking")),
    (program::SKB_INGRESS, cgroup(bpf_attach_type::BPF_CGROUP_INET_INGRESS)),
    (program::SKB_EGRESS, cgroup(bpf_attach_type::BPF_CGROUP_INET_EGRESS)),
    (program::DEVICE, cgroup(bpf_attach_type::BPF_CGROUP_DEVICE)),
    (program::SETSOCKOPT, cgroup(bpf_attach_type::BPF_CGROUP_SETSOCKOPT)),
    (program::SYSCTL, cgroup(bpf_attach_type::BPF_CGROUP_SYSCTL)),
    (program::SOCK_RELEASE, cgroup(bpf_attach_type::BPF_CGROUP_INET_SOCK_RELEASE)),
    (program::SOCK_CREATE, cgroup(bpf_attach_type::BPF_CGROUP_INET_SOCK_CREATE)),
    (program::SENDMSG4, cgroup(bpf_attach_type::BPF_CGROUP_UDP4_SENDMSG)),
    (program::SENDMSG6, cgroup(bpf_attach_type::BPF_CGROUP_UDP6_SENDMSG)),
    (program::CONNECT4, cgroup(bpf_attach_type::BPF_CGROUP_INET4_CONNECT)),
    (program::CONNECT6, cgroup(bpf_attach_type::BPF_CGROUP_INET6_CONNECT)),
];

/// Programs that are told what is sent.
const SENDING: [&str; 3] = [program::TCP_SEND, program::ANY_SEND, program::PATH_SEND];

/// Programs that belong to interfaces.
pub(super) const AT_INTERFACES: [&str; 2] = [program::FRAME, program::WIRE];

const fn cgroup(hook: bpf_attach_type) -> Target {
    Target::Cgroup(hook as u32)
}

/// The links. Those that are not pinned detach when they are dropped.
#[derive(Debug)]
pub(crate) struct Links {
    links: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    name: &'static str,
    target: Target,
    link: Link,
    is_pinned: bool,
    /// It was taken off and could not be put back.
    is_lost: bool,
}

/// Where links are attached, and where they may be pinned already.
pub(crate) struct Place<'a> {
    pub(crate) directory: &'a fs::File,
    pub(crate) path: &'a Path,
    pub(crate) pins: Option<&'a Path>,
}

impl Links {
    /// Loads every program but those that the kernel lacks something for, then attaches all. A
    /// refused one leaves attached what was pinned before, and nothing else; but those at
    /// interfaces and of security modules may be refused, and are given back with the reason.
    pub(crate) fn attach(
        collection: &mut Collection,
        place: &Place<'_>,
        offer: &Offer,
        early: &Early,
    ) -> Result<(Self, Vec<Refused>), KernelError> {
        let lacks = offer.lacks();
        let is_wanted = |name: &str| left_out(&lacks, name).is_none();
        // What nobody asks needs no program.
        let wanted = programs().filter(|name| is_wanted(name));
        let wanted = wanted.map(|name| (name, offer.kind(name)));
        let wanted: Vec<_> =
            wanted.filter(|(name, kind)| !lsm::is_one(name) || kind.is_some()).collect();
        let mut refused = collection.load(&wanted, early);
        let may_be_refused = |name: &str| lsm::is_one(name) || AT_INTERFACES.contains(&name);
        if let Some(at) = refused.iter().position(|(name, _)| !may_be_refused(name)) {
            return Err(refused.swap_remove(at).1);
        }
        fill_tails(collection, &lacks)?;
        let mut links = Vec::with_capacity(wanted.len());
        let others = wanted.iter().filter_map(|(name, _)| Some((*name, target(name)?)));
        for (name, target) in PROGRAMS.into_iter().chain(others) {
            if is_wanted(name) && refused.iter().all(|(refused, _)| *refused != name) {
                links.push(place.hold(collection.program(name)?, name, target)?);
            }
        }
        Ok((Self { links }, refused))
    }

    /// Keeps in this directory what is not pinned yet.
    pub(crate) fn pin(&mut self, directory: &Path) -> Result<(), KernelError> {
        for held in self.links.iter_mut().filter(|held| !held.is_pinned) {
            let path = directory.join(held.name);
            held.link.pin(&path).map_err(KernelError::pin(&path))?;
            held.is_pinned = true;
        }
        Ok(())
    }

    /// Puts back what was taken away, and says what that was. Pins are looked at if they may have
    /// gone.
    pub(crate) fn mend(
        &mut self,
        collection: &Collection,
        directory: &fs::File,
        pins: Option<&Path>,
        may_lack_pins: bool,
    ) -> Result<Vec<Tampering>, KernelError> {
        let mut found = Vec::new();
        for held in self.links.iter_mut().filter(|held| !held.is_lost) {
            let pin = || pins.map(|pins| pins.join(held.name));
            let looked_at = if may_lack_pins { pin() } else { None };
            let Some(harm) = held.harm(looked_at.as_deref())? else { continue };
            let pin = pin();
            let program = collection.program(held.name)?;
            let mended = held.mend(program, directory, harm, pin.as_deref());
            held.is_lost = mended.is_err();
            let is_mended = mended
                .inspect_err(|error| tracing::error!(%error, program = held.name, "not mended"))
                .is_ok();
            found.push(Tampering { program: held.name, harm, is_mended });
        }
        Ok(found)
    }

    /// Takes every program that is not pinned off what it is attached to.
    pub(crate) fn detach(&mut self) {
        self.links.clear();
    }

    /// Programs and whether their link still holds.
    pub(crate) fn alive(&self) -> Result<Vec<(&'static str, bool)>, KernelError> {
        self.links.iter().map(|held| Ok((held.name, held.link.is_alive()?))).collect()
    }
}

impl Target {
    fn attach(self, program: BorrowedFd<'_>, directory: &fs::File) -> io::Result<Link> {
        match self {
            Self::Tracepoint(tracepoint) => Link::to_tracepoint(program, tracepoint),
            Self::Loaded => Link::to_loaded_hook(program),
            Self::Cgroup(hook) => Link::to_cgroup(program, directory, hook),
        }
    }
}

impl Held {
    /// What is wrong with it.
    fn harm(&self, pin: Option<&Path>) -> Result<Option<Harm>, KernelError> {
        // Others hold as long as they are.
        if matches!(self.target, Target::Cgroup(_)) && !self.link.is_alive()? {
            return Ok(Some(Harm::Detached));
        }
        let is_gone = self.is_pinned && pin.is_some_and(|pin| !pin.exists());
        Ok(is_gone.then_some(Harm::Unpinned))
    }

    /// Attaches it again if it was detached, and pins it again.
    fn mend(
        &mut self,
        program: BorrowedFd<'_>,
        directory: &fs::File,
        harm: Harm,
        pin: Option<&Path>,
    ) -> io::Result<()> {
        if harm == Harm::Detached {
            self.link = self.target.attach(program, directory)?;
        }
        if let Some(pin) = pin.filter(|_| self.is_pinned) {
            match fs::remove_file(pin) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.link.pin(pin)?,
            }
        }
        Ok(())
    }
}

impl Place<'_> {
    /// Attaches a program: in the place of the one whose link is pinned, if there is one.
    fn hold(
        &self,
        program: BorrowedFd<'_>,
        name: &'static str,
        target: Target,
    ) -> Result<Held, KernelError> {
        let refused = |source: io::Error| {
            let target = match target {
                Target::Tracepoint(tracepoint) => tracepoint.to_owned(),
                Target::Loaded => "what it was loaded for".to_owned(),
                Target::Cgroup(_) => self.path.display().to_string(),
            };
            KernelError::Attach { program: name, target, source }
        };
        let pin = self.pins.map(|pins| pins.join(name));
        if let Some(path) = &pin
            && let Some(link) = pinned_alive(path)?
        {
            let link = match target {
                Target::Cgroup(_) => link.update(program).map(|()| link),
                Target::Tracepoint(_) | Target::Loaded => self.overtake(program, target, path),
            };
            let link = link.map_err(refused)?;
            return Ok(Held { name, target, link, is_pinned: true, is_lost: false });
        }
        let link = target.attach(program, self.directory).map_err(refused)?;
        Ok(Held { name, target, link, is_pinned: false, is_lost: false })
    }

    /// Attaches beside the pinned link, whose program cannot be exchanged, and then takes its name:
    /// for a moment both programs see each process, and none is missed. They write the same into
    /// the same tables.
    fn overtake(&self, program: BorrowedFd<'_>, target: Target, path: &Path) -> io::Result<Link> {
        let mut next = path.as_os_str().to_owned();
        next.push("_next");
        let next = PathBuf::from(next);
        // What a process that ended here left.
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let link = target.attach(program, self.directory)?;
        link.pin(&next)?;
        fs::rename(&next, path)?;
        Ok(link)
    }
}

/// The link that is pinned there and holds; a pin whose link was taken off is removed.
fn pinned_alive(path: &Path) -> Result<Option<Link>, KernelError> {
    let failed = KernelError::pin(path);
    match Link::pinned(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(link) if link.is_alive()? => Ok(Some(link)),
        Ok(_) => fs::remove_file(path).map(|()| None).map_err(failed),
    }
}

/// The names of the programs, in the order in which they are attached, then those of security
/// modules, those that others call, and those that belong to interfaces.
pub(crate) fn programs() -> impl Iterator<Item = &'static str> {
    let unix = unix::PROGRAMS.iter().map(|(name, _)| *name);
    let tails = tail::ALL.iter().map(|(_, _, name)| *name);
    let lsm = lsm::PROGRAMS.iter().map(|(name, _)| *name);
    let unix = unix.chain(SENDING);
    PROGRAMS.iter().map(|(name, _)| *name).chain(unix).chain(lsm).chain(tails).chain(AT_INTERFACES)
}

/// Where a program is attached that is not among [`PROGRAMS`], if it is.
fn target(name: &str) -> Option<Target> {
    let is_loaded_for_one = lsm::is_one(name) || SENDING.contains(&name);
    unix::hook(name).map(Target::Cgroup).or(is_loaded_for_one.then_some(Target::Loaded))
}

/// Puts the programs that others call where those look for them. The map stays in the collection:
/// the kernel empties it when nobody in user space holds it any more.
pub(crate) fn fill_tails(collection: &Collection, lacks: &[Lack]) -> Result<(), KernelError> {
    for (array, index, name) in tail::ALL {
        if left_out(lacks, name).is_some() {
            continue;
        }
        let program = collection.program(name)?.as_raw_fd().cast_unsigned();
        let Some(Map::ProgramArray(tails)) = collection.map(array) else {
            return Err(KernelError::Missing(array));
        };
        sys::put(tails.fd().as_fd(), &index, &program)
            .map_err(|error| KernelError::map("write", array)(MapError::IoError(error)))?;
    }
    Ok(())
}
