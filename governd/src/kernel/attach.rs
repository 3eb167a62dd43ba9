//! Attaching: programs to the cgroup and to tracepoints, and the links that hold them there.

use std::{
    collections::HashMap,
    fs,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{
        CgroupAttachMode, CgroupSkbAttachType, Program, ProgramError,
        raw_trace_point::RawTracePointLink,
    },
};
use governd_common::names::{program, tail};

use super::{
    KernelError,
    lack::{Lack, left_out},
    link::{CGROUP_DEVICE, Link},
    load::load_error,
    unix,
};

/// Why the kernel did not attach: a program's or a link's error.
type Refused = Box<dyn std::error::Error + Send + Sync>;

/// Programs in the order in which they are attached: lineage first, so that no connection is judged
/// before its process can be known. The tracepoint, where it is one.
const PROGRAMS: [(&str, Option<&str>); 11] = [
    (program::PROCESS_EXIT, Some("sched_process_exit")),
    (program::PROCESS_FORK, Some("sched_process_fork")),
    (program::PROCESS_EXEC, Some("sched_process_exec")),
    (program::SKB_INGRESS, None),
    (program::SKB_EGRESS, None),
    (program::DEVICE, None),
    (program::SOCK_CREATE, None),
    (program::SENDMSG4, None),
    (program::SENDMSG6, None),
    (program::CONNECT4, None),
    (program::CONNECT6, None),
];

/// The links, which detach when they are dropped.
#[derive(Debug)]
pub(crate) struct Links {
    links: Vec<(&'static str, Link)>,
    /// Programs that aya does not hold.
    own: Vec<(&'static str, OwnedFd)>,
}

impl Links {
    /// Loads every program but those that the kernel lacks something for, then attaches all: a
    /// refused one leaves nothing attached.
    pub(crate) fn attach(
        ebpf: &mut Ebpf,
        directory: &fs::File,
        path: &Path,
        lacks: &[Lack],
    ) -> Result<Self, KernelError> {
        let is_wanted = |name: &str| left_out(lacks, name).is_none();
        let mut own = Vec::new();
        for name in programs().filter(|name| is_wanted(name) && *name != program::FRAME) {
            if unix::attach_type(name).is_some() {
                own.push((name, unix::load(ebpf, name)?));
            } else {
                load_checked(find(ebpf, name)?, name)?;
            }
        }
        fill_tails(ebpf, lacks)?;
        let mut links = Vec::with_capacity(PROGRAMS.len());
        for (name, tracepoint) in PROGRAMS.into_iter().filter(|(name, _)| is_wanted(name)) {
            let link =
                attach(find(ebpf, name)?, name, directory, tracepoint).map_err(|source| {
                    let target =
                        tracepoint.map_or_else(|| path.display().to_string(), str::to_owned);
                    KernelError::Attach { program: name, target, source }
                })?;
            links.push((name, link));
        }
        for (name, fd) in &own {
            let attach_type = unix::attach_type(name).unwrap_or_default();
            let link = Link::to_cgroup(fd.as_fd(), directory, attach_type).map_err(|error| {
                let target = path.display().to_string();
                KernelError::Attach { program: name, target, source: error.into() }
            })?;
            links.push((name, link));
        }
        Ok(Self { links, own })
    }

    /// A program that aya does not hold.
    pub(crate) fn own(&self, name: &str) -> Option<&OwnedFd> {
        self.own.iter().find(|(program, _)| *program == name).map(|(_, fd)| fd)
    }

    /// Takes every program off what it is attached to.
    pub(crate) fn detach(&mut self) {
        self.links.clear();
    }

    /// Programs and whether their link still holds: a cgroup that was removed, or somebody with
    /// root rights, may have taken it off.
    pub(crate) fn alive(&self) -> Result<Vec<(&'static str, bool)>, KernelError> {
        let targets = link_targets();
        let mut states = Vec::with_capacity(self.links.len());
        for (name, link) in &self.links {
            let is_alive = targets.get(&link.id()?).is_none_or(|cgroup| *cgroup != Some(0));
            states.push((*name, is_alive));
        }
        Ok(states)
    }
}

/// The names of the programs, in the order in which they are attached, then those that others
/// call, and the one that belongs to interfaces.
pub(crate) fn programs() -> impl Iterator<Item = &'static str> {
    let unix = unix::PROGRAMS.iter().map(|(name, _)| *name);
    let tails = tail::ALL.iter().map(|(_, _, name)| *name);
    PROGRAMS.iter().map(|(name, _)| *name).chain(unix).chain(tails).chain([program::FRAME])
}

/// Puts the programs that others call where those look for them. The map stays in the object: the
/// kernel empties it when nobody in user space holds it any more.
pub(crate) fn fill_tails(ebpf: &mut Ebpf, lacks: &[Lack]) -> Result<(), KernelError> {
    for (array, index, name) in tail::ALL {
        if left_out(lacks, name).is_some() {
            continue;
        }
        let Program::CgroupSkb(program) = find(ebpf, name)? else {
            return Err(KernelError::Missing(name));
        };
        let fd = program.fd().and_then(|fd| Ok(fd.try_clone()?));
        let fd = fd.map_err(|error| load_error(name, error))?;
        let tails = ebpf.map_mut(array).ok_or(KernelError::Missing(array))?;
        ProgramArray::try_from(tails)
            .and_then(|mut tails| tails.set(index, &fd, 0))
            .map_err(KernelError::map("write", array))?;
    }
    Ok(())
}

/// Finds a program of the object.
pub(crate) fn find<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut Program, KernelError> {
    ebpf.program_mut(name).ok_or(KernelError::Missing(name))
}

/// Gives a program to the verifier.
pub(crate) fn load_checked(program: &mut Program, name: &'static str) -> Result<(), KernelError> {
    load(program).map_err(|error| load_error(name, error))
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupDevice(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn attach(
    program: &mut Program,
    name: &str,
    directory: &fs::File,
    tracepoint: Option<&str>,
) -> Result<Link, Refused> {
    // A link takes its place beside other programs whatever the mode says; asking for it is
    // refused.
    let mode = CgroupAttachMode::Single;
    let is_egress = name == program::SKB_EGRESS;
    let direction =
        if is_egress { CgroupSkbAttachType::Egress } else { CgroupSkbAttachType::Ingress };
    match program {
        Program::CgroupSockAddr(program) => {
            let id = program.attach(directory, mode)?;
            Ok(Link::Aya(program.take_link(id)?.try_into()?))
        }
        Program::CgroupSock(program) => {
            let id = program.attach(directory, mode)?;
            Ok(Link::Aya(program.take_link(id)?.try_into()?))
        }
        Program::CgroupSkb(program) => {
            let id = program.attach(directory, direction, mode)?;
            Ok(Link::Aya(program.take_link(id)?.try_into()?))
        }
        Program::CgroupDevice(program) => {
            Ok(Link::to_cgroup(program.fd()?.as_fd(), directory, CGROUP_DEVICE)?)
        }
        Program::RawTracePoint(program) => {
            let id = program.attach(tracepoint.unwrap_or_default())?;
            let link: RawTracePointLink = program.take_link(id)?;
            Ok(link.into())
        }
        _ => Err(ProgramError::UnexpectedProgramType.into()),
    }
}

/// The cgroup id of each link that this process holds, by the link's id; `None` for other links.
/// aya does not show it, so it is read where the kernel does.
fn link_targets() -> HashMap<u32, Option<u64>> {
    let Ok(entries) = fs::read_dir("/proc/self/fdinfo") else {
        return HashMap::new();
    };
    entries
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        .filter_map(|text| {
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
            let id = field("link_id:")?.trim().parse().ok()?;
            Some((id, field("cgroup_id:").and_then(|cgroup| cgroup.trim().parse().ok())))
        })
        .collect()
}
