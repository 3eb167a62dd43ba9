//! Asking for what a subject has as a whole or not at all: raw sockets, devices, governd itself.
//!
//! Where this is asked, old kernels have few helpers, so who asks is the entry in the task map and
//! nothing else, and an event has no more of the process than its tgid.

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use governd_common::{
    address::Address,
    decide::Tables as _,
    event::{EventHeader, EventKind, FlowEvent, Hook, PathEvent},
    limits::{COMM_BYTES, SOCKET_PATH_BYTES_MAX},
    table::Task,
    verdict::{Loss, Mode, Reason, Verdict},
};

use crate::{
    emit::{self, Wake, count},
    outcome::{Fault, Outcome},
    subject::{is_lost, tracked},
    tables::{View, is_quarantined},
};

const SOCK_RAW: u32 = 3;
/// No flag: what no subject may do.
pub(crate) const NOBODY: u16 = 0;

/// A governed process that asks for what its subject does not have.
pub(crate) struct Asking {
    generation: u64,
    tgid: u32,
    task: Task,
    default_rule: u32,
    mode: Mode,
}

impl Asking {
    /// Who asks, or what becomes of it where nobody governed does, or one who may: with a flag of
    /// `exempt`, unless in quarantine. No `tgid` is a process that cannot be read.
    #[inline(always)]
    pub(crate) fn of(view: &View, tgid: Option<u32>, exempt: u16) -> Result<Self, Outcome> {
        let Some(tgid) = tgid else {
            count(Loss::Read);
            return Err(Fault::LostTask(*view).outcome());
        };
        let Some(task) = tracked(tgid) else {
            let is_lost = is_lost(tgid);
            return Err(if is_lost { Fault::LostTask(*view).outcome() } else { Outcome::Pass });
        };
        let Some(settings) = view.subject(task.subject) else {
            return Err(Outcome::Pass);
        };
        let is_quarantined = is_quarantined(task.subject);
        if settings.flags & exempt != 0 && !is_quarantined {
            return Err(Outcome::Pass);
        }
        let mode = if is_quarantined { Mode::Enforce } else { Mode::from_byte(settings.mode) };
        let default_rule = settings.default_rule;
        Ok(Self { generation: view.generation, tgid, task, default_rule, mode })
    }

    #[inline(always)]
    pub(crate) fn subject(&self) -> u32 {
        self.task.subject
    }

    #[inline(always)]
    pub(crate) fn outcome(&self) -> Outcome {
        if self.mode == Mode::Enforce { Outcome::Refuse } else { Outcome::Pass }
    }

    /// Reports a raw socket; `cgroup` and `cookie` are 0 where they are not known.
    #[inline(always)]
    pub(crate) fn report_socket(&self, hook: Hook, family: u16, cgroup: u64, cookie: u64) {
        let event = FlowEvent {
            header: EventHeader { cgroup, ..self.header(EventKind::Flow, hook) },
            address: Address::UNSPECIFIED,
            port: 0,
            protocol: 0,
            verdict: Verdict::Deny as u8,
            reason: Reason::RawSocket as u8,
            mode: self.mode as u8,
            family,
            socket_type: SOCK_RAW,
            rule: self.default_rule,
            set: 0,
            reserved: 0,
            cookie,
        };
        emit::event(event, Wake::Now);
    }

    /// Reports a multicast group that the process asks to join.
    #[inline(always)]
    pub(crate) fn report_group(&self, group: &Address) {
        let event = FlowEvent {
            header: self.header(EventKind::Flow, Hook::Option),
            address: *group,
            port: 0,
            protocol: 0,
            verdict: Verdict::Deny as u8,
            reason: Reason::NoRule as u8,
            mode: self.mode as u8,
            family: if group.is_v4() { 2 } else { 10 },
            socket_type: 0,
            rule: self.default_rule,
            set: 0,
            reserved: 0,
            cookie: 0,
        };
        emit::event(event, Wake::Now);
    }

    /// Reports what has a number and no path: a device, or an act on governd.
    #[inline(always)]
    pub(crate) fn report_number(&self, hook: Hook, number: u32, reason: Reason) {
        let event = PathEvent {
            header: self.header(EventKind::Path, hook),
            device: number,
            rule: self.default_rule,
            verdict: Verdict::Deny as u8,
            reason: reason as u8,
            mode: self.mode as u8,
            reserved: 0,
            path_len: 0,
            path: [0; SOCKET_PATH_BYTES_MAX],
            padding: 0,
        };
        emit::event(event, Wake::Now);
    }

    #[inline(always)]
    fn header(&self, kind: EventKind, hook: Hook) -> EventHeader {
        header(kind, hook as u16, self.generation, self.tgid, &self.task)
    }
}

/// The part that every event begins with, for a process of the task map.
#[inline(always)]
pub(crate) fn header(
    kind: EventKind,
    hook: u16,
    generation: u64,
    tgid: u32,
    task: &Task,
) -> EventHeader {
    EventHeader {
        kind: kind as u16,
        hook,
        tgid,
        // SAFETY: the helper only reads the clock.
        time_ns: unsafe { bpf_ktime_get_boot_ns() },
        generation,
        cgroup: 0,
        uid: EventHeader::NO_ID,
        gid: EventHeader::NO_ID,
        subject: task.subject,
        root: task.root,
        comm: [0; COMM_BYTES],
    }
}
