//! Who may ask for a change: whoever the control socket lets in, but for processes that a policy
//! governs. An agent that could grant its own requests would need nobody.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    answers::failed,
    clock,
    controls::unnamed,
    discovery::trouble,
    engine::{Engine, actor},
};
use crate::{
    audit::record::{Finding, Record},
    control::{
        protocol::{ErrorKind, Reply, Request},
        server::Peer,
    },
};

/// The kind of the finding.
const KIND: &str = "agent-asks";
/// OCSF's severity "high".
const SEVERITY_HIGH: u8 = 4;
/// How often an agent that asks again and again is a finding.
const TOLD_INTERVAL: Duration = Duration::from_secs(60);

/// Which subjects asked, and when it was told last.
#[derive(Debug, Default)]
pub(super) struct Askers(HashMap<u32, Instant>);

impl Engine {
    /// Refuses a change that an agent's process asks for, or one that ended meanwhile, of which
    /// nobody can tell. `None` if it may be made. Without a peer the daemon itself asks.
    pub(super) fn refuse_agent(&mut self, request: &Request, peer: Option<Peer>) -> Option<Reply> {
        let verb = change(request)?;
        let peer = peer?;
        let pid = peer.pid.filter(|pid| *pid != 0);
        let task = pid.map(|pid| self.kernel.task(pid));
        // A process without memory has ended, or will have; its entry went before. So who is here
        // after the look had none at the time.
        let exe = pid.map(|pid| self.discovery.proc.file(pid, "exe"));
        let is_here = exe.is_some_and(|exe| exe.read_link().is_ok());
        match task {
            Some(Ok(None)) if is_here => None,
            Some(Ok(Some(task))) if task.subject == 0 => None,
            Some(Ok(Some(task))) => Some(self.refuse(verb, task.subject, peer)),
            Some(Err(error)) => Some(failed(error)),
            Some(Ok(None)) | None => Some(refused(
                format!("who asks for `{verb}` has ended, or is in another pid namespace"),
                "stay until the answer comes, and let the daemon see all processes (hostPID)",
            )),
        }
    }

    fn refuse(&mut self, verb: &str, subject: u32, peer: Peer) -> Reply {
        let of = self.state.subject(subject);
        let agent = Arc::clone(&of.agent);
        let now = Instant::now();
        let told = self.controls.askers.0.get(&subject);
        if told.is_none_or(|told| now.duration_since(*told) >= TOLD_INTERVAL) {
            self.controls.askers.0.insert(subject, now);
            tracing::warn!(agent = &*agent, verb, "an agent asked for a change");
            let title = format!("{agent} asked governd for `{verb}`, which was refused");
            let evidence = vec![format!("{} asked", unnamed(&self.by(Some(peer))))];
            let known = peer.pid.map(|pid| self.processes.now(pid, clock::boot_ns()));
            let finding = Finding {
                uid: format!("{KIND}/{agent}").into(),
                severity: SEVERITY_HIGH,
                subject: Some(of),
                actor: known.map(actor),
                ..trouble(KIND, &title, evidence)
            };
            self.journal.record(Record::Finding(finding), None);
        }
        refused(
            format!("`{verb}` is not for agents: this process counts as {agent}"),
            "ask from a session that no agent started",
        )
    }
}

/// The verb that a person uses for a request, if it changes what is in force or on record.
const fn change(request: &Request) -> Option<&'static str> {
    Some(match request {
        Request::Approve { .. } => "approve",
        Request::Deny { .. } => "deny",
        Request::Revoke { .. } => "revoke",
        Request::Quarantine { .. } => "quarantine",
        Request::Release { .. } => "release",
        Request::SetMode { .. } => "mode set",
        Request::Erase { .. } => "audit erase",
        Request::RotateKey => "audit rotate-key",
        Request::Stop { .. } => "stop",
        Request::Status
        | Request::Watch { .. }
        | Request::Explain { .. }
        | Request::ExplainLast { .. }
        | Request::Agents
        | Request::Agent { .. }
        | Request::Reload
        | Request::Approvals
        | Request::Grants
        | Request::Quarantined
        | Request::Modes
        | Request::SelfTest { .. }
        | Request::RuleCounts => return None,
    })
}

fn refused(message: String, hint: &str) -> Reply {
    Reply::Error { message, hint: Some(hint.to_owned()), kind: ErrorKind::BadRequest }
}
