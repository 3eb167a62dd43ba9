//! What a hook answers: the one place where a fault becomes a verdict.

use governd_common::{
    decide::Decision,
    table::settings_flag,
    verdict::{Mode, Reason, Verdict},
};

use crate::tables::View;

/// What keeps a program from deciding by policy.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// The process is governed, and no whole policy is in force.
    NoPolicy,
    /// The process descends from a governed one and could not be tracked, or which one it is
    /// cannot be read.
    LostTask(View),
    /// The policy's tables were replaced while the program ran.
    TornView,
    /// The socket's owner could not be stored, so its later packets could not be judged. The
    /// decision is what the policy says of this one.
    SocketStorage(Decision),
}

impl Fault {
    /// The decision in place of the one that could not be made.
    #[inline(always)]
    pub(crate) fn decision(self) -> Decision {
        match self {
            Self::NoPolicy | Self::TornView => Decision::FAULT,
            // Whose descendant it is, is not known; where nothing is enforced, nothing is stopped.
            Self::LostTask(view) => {
                let enforces = view.has(settings_flag::ENFORCES);
                let mode = if enforces { Mode::Enforce } else { Mode::Monitor };
                Decision { mode, ..Decision::FAULT }
            }
            Self::SocketStorage(decision) => {
                Decision { verdict: Verdict::Deny, reason: Reason::Fault, quiet: false, ..decision }
            }
        }
    }

    /// What becomes of it where nothing is reported.
    #[inline(always)]
    pub(crate) fn outcome(self) -> Outcome {
        Outcome::of(&self.decision())
    }
}

/// What a program returns to the kernel.
#[derive(Clone, Copy, Eq, PartialEq)]
#[repr(i32)]
pub(crate) enum Outcome {
    Refuse = 0,
    Pass = 1,
    /// At egress: the packet is lost as on a full interface, of which the sender of a datagram is
    /// not told. It will send again.
    Lose = 2,
}

impl Outcome {
    #[inline(always)]
    pub(crate) fn of(decision: &Decision) -> Self {
        if decision.refuses() { Self::Refuse } else { Self::Pass }
    }

    /// The program's return value; a refused caller gets `EACCES`.
    #[inline(always)]
    pub(crate) fn answer(self) -> i32 {
        self.answer_with(EACCES)
    }

    /// The program's return value. A refused caller gets the error where the kernel lets programs
    /// choose (Linux 5.18), else the kernel's own `EPERM`.
    #[inline(always)]
    pub(crate) fn answer_with(self, errno: i32) -> i32 {
        if self == Self::Refuse && crate::task::layout!(has_set_retval) != 0 {
            // SAFETY: the helper only stores the value for this call.
            unsafe { aya_ebpf::helpers::bpf_set_retval(-errno) };
        }
        self as i32
    }
}

pub(crate) const EACCES: i32 = 13;
