//! Answers to the command line.

use std::{collections::BTreeMap, io};

use governd_common::{limits, verdict::Mode};
use serde::Serialize;
use tokio::sync::oneshot;

use super::{VERSION, confinement, ending::Ending, engine::Engine, uplink::Uplink};
use crate::{
    audit::record::personal::Erasure,
    control::{
        protocol::{
            AgentStatus, CatalogStatus, DecisionCounts, ErrorKind, PolicyStatus, ProgramStatus,
            Reply, Request, StatusReport, TableStatus,
        },
        server::{Answer, Call},
    },
    kernel::KernelError,
    policy::host::Host as _,
};

impl Engine {
    /// Answers a request.
    pub(super) fn answer(&mut self, call: Call) {
        let Call { request, peer, answer } = call;
        let answered = self
            .refuse_agent(&request, peer)
            .or_else(|| self.answer_control(&request, peer))
            .or_else(|| self.answer_mode(&request, peer))
            .or_else(|| self.answer_selftest(&request, peer))
            .or_else(|| self.answer_rules(&request));
        if let Some(answered) = answered {
            send(answer, answered);
            return;
        }
        match request {
            Request::Status => {
                send(answer, self.status().map_or_else(failed, |report| ok(&report)))
            }
            Request::Watch { since } => {
                let coming = self.journal.events();
                let past = since.map(|first| self.journal.since(first));
                tokio::spawn(async move {
                    let past = match past {
                        Some(past) => past.await,
                        None => Box::new(std::iter::empty()),
                    };
                    reply(answer, Answer::Events { past, coming });
                });
            }
            Request::Erase { user, before_ms } => {
                let which = Erasure { user, before_ms };
                let of_inventory = self.erase_inventory(&which);
                let erased = self.journal.erase(which, of_inventory, self.by(peer));
                send_later(answer, erased);
            }
            Request::RotateKey => send_later(answer, self.journal.rotate(self.by(peer))),
            Request::Explain { pid, destination } => {
                let explained = self.explain(pid, &destination);
                send(answer, explained);
            }
            Request::ExplainLast { agent } => {
                let explained = self.explain_last(agent.as_deref());
                send(answer, explained);
            }
            Request::Agents => send(answer, self.agents()),
            Request::Agent { id } => send(answer, self.agent(&id)),
            Request::Stop { detach } => {
                self.ending = if detach { Ending::Detaches } else { Ending::Stays };
                self.stopping = Some(answer);
            }
            Request::Reload => {
                self.reload();
                send(answer, self.reloaded());
            }
            // Answered above.
            Request::Approvals
            | Request::Approve { .. }
            | Request::Deny { .. }
            | Request::Grants
            | Request::Revoke { .. }
            | Request::Quarantined
            | Request::Quarantine { .. }
            | Request::Release { .. }
            | Request::RuleCounts
            | Request::Modes
            | Request::SetMode { .. }
            | Request::SelfTest { .. } => {}
        }
    }

    fn reloaded(&self) -> Reply {
        match self.state.refused() {
            None => ok(&self.policy_status()),
            Some(reason) => Reply::Error {
                message: format!("the policy is not in force: {reason}"),
                hint: Some("the policy before it stays in force; correct it and try again".into()),
                kind: ErrorKind::InvalidPolicy,
            },
        }
    }

    fn policy_status(&self) -> PolicyStatus {
        PolicyStatus {
            source: self.rulebook.describe(),
            digest: self.state.policy().digest.to_string(),
            generation: self.kernel.generation(),
            rejected: self.state.refused().map(str::to_owned),
            refused: self.state.counts().refused_policies,
        }
    }

    /// Tables that can be full. A policy is written into one half of its tables, while the one
    /// before it is in the other.
    fn tables(&self, tasks: u64) -> Result<Vec<TableStatus>, KernelError> {
        let image = &self.state.policy().image;
        let half = |name, entries: usize, max: u32| (name, entries as u64, u64::from(max / 2));
        let rows = [
            ("tasks", tasks, u64::from(limits::TASKS_MAX)),
            ("bindings", self.kernel.bindings_count()?, u64::from(limits::BINDINGS_MAX)),
            ("ids", self.rulebook.ids().count() as u64, u64::from(limits::IDS_MAX)),
            half("exes", image.exes.len(), limits::EXES_MAX),
            half("uids", image.uids.len(), limits::UIDS_MAX),
            half("cgroups", image.cgroups.len(), limits::CGROUPS_MAX),
            half("subjects", image.subjects.len(), limits::SUBJECTS_MAX),
            half("names", image.names.len(), limits::NAMES_MAX),
            half("networks", image.networks.len(), limits::CIDRS_MAX),
            half("decisions", image.blocks.len(), limits::DECISIONS_MAX),
            half("resolvers", image.resolvers.len(), limits::RESOLVERS_MAX),
        ];
        let row = |(name, entries, entries_max): (&str, u64, u64)| TableStatus {
            name: name.to_owned(),
            entries,
            entries_max,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    fn catalog_status(&self) -> CatalogStatus {
        let catalog = self.catalogue.current();
        CatalogStatus {
            directory: self.catalogue.directory().display().to_string(),
            endpoints: catalog.endpoints().len() as u64,
            runtimes: catalog.runtimes().len() as u64,
            rejected: self.catalogue.rejected().map(str::to_owned),
        }
    }

    fn status(&self) -> Result<StatusReport, KernelError> {
        let tasks = self.kernel.tasks()?;
        let policy = self.state.policy();
        let mut processes: BTreeMap<u32, u64> = BTreeMap::new();
        for (_, task) in &tasks {
            *processes.entry(policy.registered(task.subject)).or_default() += 1;
        }
        let mut limits = self.limit_rows()?;
        let agents = policy.agents.iter().filter(|agent| agent.subject != 0);
        let counts = self.state.counts();
        let programs = self.kernel.status()?.programs.into_iter();
        Ok(StatusReport {
            version: VERSION.into(),
            pid: std::process::id(),
            host: self.host.name().to_owned(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            cgroup: self.kernel.cgroup().display().to_string(),
            enforcement: self.proof.status(),
            selftests: self.selftests.status(policy.selftest_s),
            policy: self.policy_status(),
            agents: agents
                .map(|agent| AgentStatus {
                    name: agent.name.to_string(),
                    owner: agent.owner.as_deref().map(str::to_owned),
                    mode: mode_word(agent.mode).into(),
                    mode_set_by: self.mode_set_by(&agent.name),
                    processes: processes.get(&agent.subject).copied().unwrap_or(0),
                    limits: limits.remove(&agent.subject).unwrap_or_default(),
                })
                .collect(),
            tracked_processes: tasks.len() as u64,
            decisions: DecisionCounts {
                allowed: counts.allowed,
                denied: counts.denied,
                would_deny: counts.would_deny,
            },
            catalog: self.catalog_status(),
            inventory: self.inventory_status(),
            lost: self.state.lost().map(|(word, count)| (word.to_owned(), count)).collect(),
            programs: programs
                .map(|program| ProgramStatus {
                    name: program.name.into(),
                    id: program.id,
                    attached: program.is_attached,
                    verified_instructions: program.verified_instructions,
                })
                .collect(),
            degraded: self
                .kernel
                .lacks()
                .iter()
                .map(|lack| (lack.word().to_owned(), lack.detail().to_owned()))
                .chain(self.gaps_in_words())
                .collect(),
            log: self.journal.status(),
            exporters: self
                .exporting
                .status()
                .into_iter()
                .chain(self.uplink.as_ref().map(Uplink::status))
                .collect(),
            events: self.events,
            tables: self.tables(tasks.len() as u64)?,
            privileges: confinement::status(),
        })
    }
}

pub(super) fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Monitor => "monitor",
        Mode::Enforce => "enforce",
    }
}

pub(super) fn ok(value: &impl Serialize) -> Reply {
    match serde_json::to_value(value) {
        Ok(value) => Reply::Ok(value),
        Err(error) => failed(error),
    }
}

pub(super) fn failed(error: impl std::error::Error) -> Reply {
    Reply::Error { message: error.to_string(), hint: None, kind: ErrorKind::Internal }
}

fn send(answer: oneshot::Sender<Answer>, value: Reply) {
    reply(answer, Answer::Reply(value));
}

/// Answers once something that takes its time is done.
fn send_later<T: Serialize>(
    answer: oneshot::Sender<Answer>,
    value: impl Future<Output = io::Result<T>> + Send + 'static,
) {
    tokio::spawn(async move {
        let value = value.await;
        send(answer, value.map_or_else(failed, |value| ok(&value)));
    });
}

fn reply(answer: oneshot::Sender<Answer>, value: Answer) {
    if answer.send(value).is_err() {
        tracing::debug!("a control client left before its answer");
    }
}
