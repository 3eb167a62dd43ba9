//! Processes that a governed one makes do what it wants, by writing their memory or tracing them:
//! they count as its agent's from then on, and that is a finding.
//!
//! The daemon itself and the first process of the host stay what they are. Either would be an end
//! to everybody's network, and who can do that to them is beyond being stopped.

use std::{collections::HashMap, io, mem, os::unix::net, process};

use governd_common::{event::InfluenceEvent, table::Task};
use tokio::net::UnixDatagram;

use super::{
    clock,
    engine::{Engine, actor},
};
use crate::{
    audit::record::Actor,
    core::{
        state::Input,
        unseen::{Deed, Unseen},
    },
    kernel::KernelError,
    workload::ptrace::{self, Attachment},
};

/// The first process of the host.
const INIT: u32 = 1;
/// Attachments that wait for events of who traces; further ones are not recorded.
const WAITING_MAX: usize = 256;

/// What tells of tracing, where the kernel does.
pub(super) type Tracing = Option<UnixDatagram>;

/// Begins to listen. The socket is netlink's; a local one is received from in the same way.
pub(super) fn listen() -> Tracing {
    let opened = ptrace::listen().map(net::UnixDatagram::from).and_then(UnixDatagram::from_std);
    opened.inspect_err(|error| tracing::warn!(%error, "nobody tells who traces whom")).ok()
}

/// Waits for the next.
pub(super) async fn attached(tracing: &Tracing) -> io::Result<Vec<Attachment>> {
    let Some(tracing) = tracing else {
        return std::future::pending().await;
    };
    let mut message = [0; ptrace::MESSAGE_BYTES_MAX];
    let len = tracing.recv(&mut message).await?;
    Ok(ptrace::attachments(message.get(..len).unwrap_or_default()))
}

/// Who may have traced, also of those that have ended since.
#[derive(Debug, Default)]
pub(super) struct Tracers {
    /// Subject and root by process, until a while after its end.
    governed: HashMap<u32, (u32, u32)>,
    ended: Vec<u32>,
    waiting: Vec<Attachment>,
}

impl Tracers {
    /// A process is governed.
    pub(super) fn begin(&mut self, pid: u32, subject: u32, root: u32) {
        if subject != 0 {
            self.governed.insert(pid, (subject, root));
        }
    }

    /// A process has ended.
    pub(super) fn end(&mut self, pid: u32) {
        self.ended.push(pid);
    }

    /// Subject and root of a process that is governed, or was until the last look.
    pub(super) fn of(&self, pid: u32) -> Option<(u32, u32)> {
        self.governed.get(&pid).copied()
    }

    fn wait(&mut self, attachment: Attachment) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push(attachment);
        }
    }

    fn forget_ended(&mut self) {
        for pid in self.ended.drain(..) {
            self.governed.remove(&pid);
        }
    }
}

impl Engine {
    /// A process writes another's memory; the kernel has made that one its subject's.
    pub(super) fn influence(&mut self, event: &InfluenceEvent) {
        if event.target == process::id()
            && let Err(error) = self.kernel.remove_task(event.target)
        {
            tracing::error!(%error, "the daemon counts as an agent's");
        }
        let actor = actor(self.processes.attribute(&event.header));
        self.tell_influence(Deed::Writes, actor, event.header.subject, event.target);
    }

    /// Processes began to trace others. Of who traces there may be events that were not read yet.
    pub(super) fn attached(&mut self, news: io::Result<Vec<Attachment>>) {
        match news {
            Ok(news) => self.judge_attached(news, true),
            Err(error) => tracing::warn!(%error, "who traces whom is not known"),
        }
    }

    /// The same, once all such events were read.
    pub(super) fn attached_before(&mut self) {
        let waiting = mem::take(&mut self.watch.tracers.waiting);
        if !waiting.is_empty() {
            self.judge_attached(waiting, false);
        }
        self.watch.tracers.forget_ended();
    }

    fn judge_attached(&mut self, news: Vec<Attachment>, may_wait: bool) {
        for attachment in news {
            if let Err(error) = self.judge_attachment(attachment, may_wait) {
                tracing::error!(%error, ?attachment, "a traced process is not its tracer's");
            }
        }
    }

    fn judge_attachment(
        &mut self,
        attachment: Attachment,
        may_wait: bool,
    ) -> Result<(), KernelError> {
        let Attachment { tracer, traced } = attachment;
        let known = self.kernel.task(tracer)?.map(|task| (task.subject, task.root));
        let Some((subject, root)) =
            known.or_else(|| self.watch.tracers.governed.get(&tracer).copied())
        else {
            if may_wait {
                self.watch.tracers.wait(attachment);
            }
            return Ok(());
        };
        // An agent's own descendants are its anyway.
        let is_own = self.kernel.task(traced)?.is_some_and(|task| task.subject == subject);
        if subject == 0 || is_own {
            return Ok(());
        }
        let marked = if traced == INIT || traced == process::id() {
            Ok(())
        } else {
            self.watch.expect_changes();
            self.kernel.set_task(traced, Task { subject, root, since_ns: clock::boot_ns() })
        };
        let actor = actor(self.processes.now(tracer, clock::boot_ns()));
        self.tell_influence(Deed::Traces, actor, subject, traced);
        marked
    }

    fn tell_influence(&mut self, deed: Deed, actor: Actor, subject: u32, target: u32) {
        let kind = match deed {
            Deed::Traces => "traced-process",
            Deed::Has | Deed::Writes | Deed::Loads | Deed::Changes => "foreign-memory",
        };
        let name = match self.processes.process(target) {
            Some(known) => format!("{} (process {target})", known.process.name),
            None => format!("process {target}"),
        };
        let unseen = Unseen { deed, kind, name: name.into(), actor, subject };
        self.step(Input::Unseen(unseen, clock::now_ms()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_ended_is_known_until_the_next_look() {
        let mut tracers = Tracers::default();
        tracers.begin(7, 1, 7);
        tracers.begin(8, 0, 0);
        tracers.end(7);
        assert_eq!(tracers.governed.get(&7), Some(&(1, 7)));
        assert_eq!(tracers.governed.get(&8), None);
        tracers.forget_ended();
        assert!(tracers.governed.is_empty() && tracers.ended.is_empty());
        for _ in 0..WAITING_MAX + 9 {
            tracers.wait(Attachment { tracer: 1, traced: 2 });
        }
        assert_eq!(tracers.waiting.len(), WAITING_MAX);
    }
}
